keep/x.c
