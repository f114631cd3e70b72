"""A candidate's own history grows: recorded conversations run on, without touching the world."""
