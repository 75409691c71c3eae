"""The one exception that the lab shows to a person."""


class LabError(Exception):
    """What went wrong, where, and what to do about it, in words for a person."""


class CannotHost(LabError):
    """This machine cannot host a lab as it is."""
