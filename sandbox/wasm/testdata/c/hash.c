// FNV-1a and a xorshift mix over a buffer: integer arithmetic and sequential loads.
#include <stdint.h>
#include <stdio.h>

static uint8_t data[1 << 20];

int main(void) {
	uint32_t x = 1;
	for (int i = 0; i < (int)sizeof data; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		data[i] = (uint8_t)x;
	}
	uint64_t h = 14695981039346656037ull;
	for (int round = 0; round < 120; round++)
		for (int i = 0; i < (int)sizeof data; i++)
			h = (h ^ data[i]) * 1099511628211ull;
	printf("%016llx\n", (unsigned long long)h);
}
