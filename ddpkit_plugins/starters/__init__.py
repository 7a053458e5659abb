"""Starters of the built-in datasets: they recognise a user's data for `ddpkit init`, and suggest a config."""
