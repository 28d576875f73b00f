"""Score -> performance: notes of a score, rules, controls, and files a DAW can edit."""
