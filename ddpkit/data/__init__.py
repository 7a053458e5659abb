"""Data: loader, sampler, seeding, image files."""
