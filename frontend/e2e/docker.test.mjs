// The Docker picture beside the terminal follows what is typed there; keys and the table reach the same.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { learner, open } from './harness.mjs';

let world;
before(async () => (world = await open()));
after(() => world?.close());

test('the Docker picture follows the terminal', async (context) => {
  if (!world.real) return context.skip('a double answers here');
  const l = await learner(world, { lang: 'ko' });
  const { page } = l;
  await page.goto(world.url + '/lessons/first-container');
  await l.prompt();
  const card = (name) => page.locator(`[data-container][aria-label^="컨테이너 ${name},"]`);
  await l.focusTerminal();
  await l.type('docker run -d -p 8080:80 --name web nginx');
  await card('web').and(page.locator('[aria-label*="실행 중"][aria-label*="8080→80"]')).waitFor();
  await l.type('docker run --name over busybox false');
  await card('over').and(page.locator('[aria-label*="끝남 (1)"]')).waitFor();
  assert.equal(await page.locator('.slab.shared').count(), 1, 'what nginx and busybox share is drawn once');

  await page.locator('[data-container][tabindex="0"]').focus();
  const first = await page.evaluate(() => document.activeElement.getAttribute('data-container'));
  await page.keyboard.press('ArrowRight');
  if ((await page.evaluate(() => document.activeElement.getAttribute('data-container'))) === first) await page.keyboard.press('ArrowLeft');
  await page.waitForFunction((was) => document.activeElement.getAttribute('data-container') !== was, first);
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });

  await page.locator('#view-table').click();
  await page.getByRole('row', { name: /web 실행 중 nginx 8080→80/ }).waitFor();
  await l.focusTerminal();
  await l.type('docker rm -f web');
  await page.getByRole('row', { name: /^web / }).waitFor({ state: 'detached' });
  await l.leave();
});
