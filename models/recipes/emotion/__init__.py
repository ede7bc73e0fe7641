"""The emotion bundle: speech and text students, label-guided fusion."""
