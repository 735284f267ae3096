// Quicksort with a comparison by function pointer, as qsort(3) does it: indirect calls and moves.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 1 << 20 };
static uint32_t v[N];

static int ascending(const void *a, const void *b) {
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void quick(uint32_t *lo, uint32_t *hi, int (*cmp)(const void *, const void *)) {
	while (lo < hi) {
		uint32_t *i = lo, *j = hi, pivot = lo[(hi - lo) / 2];
		while (i <= j) {
			while (cmp(i, &pivot) < 0) i++;
			while (cmp(j, &pivot) > 0) j--;
			if (i <= j) {
				uint32_t t = *i;
				*i++ = *j;
				*j-- = t;
			}
		}
		if (j - lo < hi - i) {
			quick(lo, j, cmp);
			lo = i;
		} else {
			quick(i, hi, cmp);
			hi = j;
		}
	}
}

int main(int argc, char **argv) {
	(void)argv;
	int (*volatile cmp)(const void *, const void *) = argc < 100 ? ascending : 0;
	uint32_t x = 2463534242u, sum = 0;
	for (int i = 0; i < N; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		v[i] = x;
	}
	quick(v, v + N - 1, cmp);
	for (int i = 0; i < N; i += 4097) sum = sum * 31 + v[i];
	printf("%08x\n", (unsigned)sum);
}
