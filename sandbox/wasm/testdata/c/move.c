// Moves and fills of all sizes around the chunk of the rewriter, overlapping both ways.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { SIZE = 1 << 20 };
static uint8_t m[SIZE];

int main(void) {
	static const uint32_t sizes[] = {0, 1, 65535, 65536, 65537, 131072, 200001, 700000};
	static const uint32_t shifts[] = {0, 1, 7, 4096, 65536, 100003};
	uint32_t x = 1;
	uint64_t h = 0;
	for (int i = 0; i < SIZE; i++) {
		x = x * 1664525 + 1013904223;
		m[i] = (uint8_t)(x >> 24);
	}
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (unsigned j = 0; j < sizeof shifts / sizeof *shifts; j++) {
			memmove(m + 1000, m + 1000 + shifts[j], sizes[i]);
			memmove(m + 1500 + shifts[j], m + 1500, sizes[i]);
			memset(m + 900000, (int)(i + j), sizes[i] / 6);
			for (int k = 0; k < SIZE; k += 13) h = h * 31 + m[k];
		}
	printf("%016llx\n", (unsigned long long)h);
}
