"""One script per question; each files its figures in results/."""
