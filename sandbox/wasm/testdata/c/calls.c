// A bytecode interpreter and a recursive function: dispatch by switch and many small calls.
#include <stdint.h>
#include <stdio.h>

enum { PUSH, ADD, XOR, DUP, DEC, JNZ, SWAP, HALT };

static const uint8_t code[] = {PUSH, 1, SWAP, DUP, PUSH, 7, XOR, SWAP, DEC, SWAP, PUSH, 3, ADD, PUSH, 0, ADD, SWAP, HALT};

static uint32_t step(uint32_t counter, uint32_t acc) {
	uint32_t s[16];
	int sp = 0;
	s[sp++] = acc;
	s[sp++] = counter;
	for (int pc = 0;;) {
		switch (code[pc++]) {
		case PUSH: s[sp++] = code[pc++]; break;
		case ADD: sp--; s[sp - 1] += s[sp]; break;
		case XOR: sp--; s[sp - 1] ^= s[sp]; break;
		case DUP: s[sp] = s[sp - 1]; sp++; break;
		case DEC: s[sp - 1]--; break;
		case JNZ: if (s[--sp]) pc = code[pc]; else pc++; break;
		case SWAP: { uint32_t t = s[sp - 1]; s[sp - 1] = s[sp - 2]; s[sp - 2] = t; break; }
		case HALT: return s[0] * 2654435761u + s[1] + s[sp - 1];
		}
	}
}

__attribute__((noinline)) static uint32_t fib(uint32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

int main(void) {
	uint32_t acc = 1;
	for (uint32_t i = 0; i < 2000000; i++) acc = step(i, acc);
	printf("%08x %u\n", (unsigned)acc, (unsigned)fib(33));
}
