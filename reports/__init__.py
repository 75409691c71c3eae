"""Writers of what was found. They know outcomes only: nothing here looks at a cloud."""
