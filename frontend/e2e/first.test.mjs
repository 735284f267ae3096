// The first minute: from the home page's one button to a container that has run, with three wrong ways in between.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { learner, open } from './harness.mjs';

let world;
before(async () => (world = await open()));
after(() => world?.close());

const shots = process.env.DRYDOCK_SHOTS;
if (shots) mkdirSync(shots, { recursive: true });
const shot = (l, name) => shots && l.page.screenshot({ path: join(shots, `${name}.png`) });

for (const lang of ['ko', 'en'])
  test(`the first minute in ${lang}: three wrong ways lead on, then the tick names the next step`, async (context) => {
    if (!world.real) return context.skip('a double answers here');
    const l = await learner(world, { lang });
    const { page } = l;
    await page.goto(world.url);
    await page.locator('.catalogue li').first().waitFor();
    await shot(l, `first-${lang}-home`);
    await page.getByRole('button', { name: l.t.start }).click();
    await l.prompt();
    await page.waitForFunction(() => document.activeElement?.classList.contains('xterm-helper-textarea'));
    assert.equal(new URL(page.url()).pathname, '/lessons/first-container');
    assert.equal(await page.locator('dialog[open]').count(), 0);

    const remark = page.locator('.missing .wrong');
    await l.type('docker run helloworld');
    await remark.filter({ hasText: 'docker run hello-world' }).filter({ hasText: '-' }).waitFor();
    const first = await remark.innerText();
    await l.type('docker hello-world');
    await remark.filter({ hasText: '‘hello-world’' }).waitFor();
    assert.notEqual(await remark.innerText(), first);
    await l.prompt();
    await l.focusTerminal();
    await page.keyboard.insertText('애찯ㄱ 겨ㅜ');
    await page.keyboard.press('Enter');
    await remark.filter({ hasText: '‘애찯ㄱ’' }).waitFor();
    await l.shows('docker');
    await shot(l, `first-${lang}-wrong`);

    await l.type('docker run hello-world');
    await l.ticked(1);
    await l.shows('Hello from a container in your lab!');
    assert.equal(await page.locator('.missing .wrong').count(), 0);
    const next = await page.locator('.task.current h3').evaluate((h) => h.firstChild.textContent.trim());
    assert.ok((await page.locator('.task.done .next').innerText()).includes(next), `the tick names the next step, ${next}`);
    await shot(l, `first-${lang}-tick`);

    await page.setViewportSize({ width: 390, height: 844 });
    await shot(l, `first-${lang}-390`);
    await l.leave();
  });
