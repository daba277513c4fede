"""The engine's behaviour: jobs executed in virtual time, over real stores."""
