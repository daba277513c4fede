"""What every store must do: one suite, run over all of them."""
