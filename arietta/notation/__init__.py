"""Sheet music: scores in any format -> the notes of a score, and what a renderer reads of them."""
