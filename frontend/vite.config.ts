import { svelte } from '@sveltejs/vite-plugin-svelte';
import { writeFileSync } from 'node:fs';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/** The mono font's package names each piece twice, as woff2 and as woff; every browser that runs the page reads woff2. */
function woff2Only(): Plugin {
  return {
    name: 'woff2-only',
    enforce: 'pre',
    transform(code, id) {
      if (id.includes('@fontsource') && id.split('?')[0].endsWith('.css')) return code.replace(/,\s*url\([^)]*\.woff\) format\('woff'\)/g, '');
    },
  };
}

/** The program embeds dist, which must exist before the first build. */
function keepFolder(): Plugin {
  return { name: 'keep-folder', closeBundle: () => writeFileSync('dist/.gitkeep', '') };
}

export default defineConfig({
  plugins: [woff2Only(), svelte(), keepFolder()],
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false }, reportCompressedSize: false },
  server: { proxy: { '/api': { target: process.env.PORTAL ?? 'http://127.0.0.1:8080', ws: true } } },
  test: { include: ['src/**/*.test.ts', 'test/**/*.test.ts'], environment: 'node' },
});
