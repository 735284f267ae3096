// Product of matrices of doubles: short inner loops over memory.
#include <stdio.h>

enum { N = 320 };
static double a[N][N], b[N][N], c[N][N];

int main(void) {
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			a[i][j] = (i * 7 + j * 3) % 11;
			b[i][j] = (i * 5 + j * 13) % 7;
		}
	for (int round = 0; round < 4; round++)
		for (int i = 0; i < N; i++)
			for (int j = 0; j < N; j++) {
				double s = 0;
				for (int k = 0; k < N; k++) s += a[i][k] * b[k][j];
				c[i][j] += s;
			}
	double t = 0;
	for (int i = 0; i < N; i++) t += c[i][(i * 31) % N];
	printf("%.0f\n", t);
}
