"""One set of rules for backtest and paper: how orders fill, what they cost, what an account holds."""
