"""What is known of one mask on one frame: its outline, its bodies, how likely it is a particle."""
