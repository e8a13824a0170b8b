"""What can go wrong; the texts are those of the command."""


class RetrogradError(Exception):
    """Whatever Retrograd raises, but for a tensor that a trace does not hold, which is a ``KeyError``."""


class RequestError(RetrogradError, ValueError):
    """What was asked for does not fit the model: tokens, targets, heads, maps."""


class FormatError(RetrogradError, OSError):
    """A file or directory that cannot be read or written, or is not what it should be."""


class DeviceError(RetrogradError, RuntimeError):
    """The device: none found, too little memory, lost, or opened before a fork."""
