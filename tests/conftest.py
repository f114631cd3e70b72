"""What holds for every test."""

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's doing: timing fails no test here.
settings.register_profile(
    "refold", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("refold")
