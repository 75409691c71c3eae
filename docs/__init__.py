"""What is generated for the operator."""
