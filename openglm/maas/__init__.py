"""The platform: accounts, keys, money, limits, models, and the road of a request through them. No torch."""
