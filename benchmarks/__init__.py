"""Answer one question per script; each script files its figures in results/."""
