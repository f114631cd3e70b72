"""What the tests of voice frameworks share."""

import warnings

with warnings.catch_warnings():
    # Of modules that it imports, and classes that it keeps, it warns that they will go.
    warnings.simplefilter("ignore", DeprecationWarning)
    import pipecat.services.llm_service
    import pipecat.services.tts_service
    import pipecat.transports.base_output  # noqa: F401
