"""Whatever comes in from outside, nothing but the declared errors comes out."""
