"""The sections of a report on Scores; each is a pure function of them."""
