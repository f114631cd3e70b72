"""What every test shares: Hypothesis without deadlines, since a busy machine is not a defect."""

from hypothesis import settings

settings.register_profile("refold", deadline=None)
settings.load_profile("refold")
