/* spin.h - how long OpenMP's threads spin while they wait. */
#ifndef QLORA_TOOLS_SPIN_H
#define QLORA_TOOLS_SPIN_H

/* libgomp lets waiting threads spin for milliseconds by default; beside other busy programs that
 * made training eight times slower (12 against 95 tokens/s, SmolLM2, load 9 on two cores). The
 * setting is read before main, so the program starts itself again once with a short spin, unless
 * the user chose. */
void ql_spin_briefly(char **argv);

#endif
