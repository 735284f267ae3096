// The pages in every dress: accessible, complete, within their budgets, from phone to desk.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import { learner, open } from './harness.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
let world;
before(async () => (world = await open()));
after(() => world?.close());

async function accessible(page, where) {
  const found = await page.evaluate(async (source) => {
    if (!window.axe) new Function(source)();
    return (await window.axe.run(document, { resultTypes: ['violations'] })).violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ') + ' ' + n.failureSummary).slice(0, 3).join(' | ')}`);
  }, axe);
  assert.deepEqual(found, [], where);
}

const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

for (const [lang, theme, width, height] of [
  ['ko', 'light', 1440, 900],
  ['en', 'dark', 1440, 900],
  ['ko', 'dark', 1024, 768],
  ['en', 'light', 390, 844],
]) {
  test(`${lang} ${theme} ${width}×${height}: axe finds nothing and nothing sticks out`, async () => {
    // axe is put in by the test; the page's own policy would not let it in
    const l = await learner(world, { lang, theme, width, height, bypassCSP: true });
    const { page } = l;
    await page.goto(world.url);
    await page.locator('.catalogue li').first().waitFor();
    await accessible(page, 'home');
    assert.ok((await overflow(page)) <= 0, 'home is too wide');
    await page.goto(world.url + '/differences');
    await page.locator('main h2').nth(3).waitFor();
    await accessible(page, 'differences');
    await l.start();
    if (width < 500) await page.locator('.bottom button').nth(1).click();
    await l.type('kubectl apply -f web.yaml');
    await l.type('kubectl apply -f hog.yaml');
    if (width < 500) await page.locator('.bottom button').nth(2).click();
    await page.locator('[data-pod="default/hog"].bad').waitFor();
    await page.waitForFunction(() => document.getAnimations().every((a) => a.playState !== 'running' || a.animationName === 'spin'));
    await accessible(page, 'lesson');
    assert.ok((await overflow(page)) <= 0, 'the lesson is too wide');
    await page.locator('[data-pod="default/hog"]').click();
    await page.locator('.card .why li').first().waitFor();
    await accessible(page, 'card');
    await page.keyboard.press('Escape');
    await page.getByRole('tab', { name: l.t.table, exact: true }).click();
    await page.locator('table').first().filter({ hasText: /hog[\s\S]*OOMKilled/ }).waitFor();
    await accessible(page, 'table');
    await page.getByRole('tab', { name: l.t.manifest }).click();
    await page.locator('.cm-line').first().waitFor();
    await accessible(page, 'manifest');
    await page.locator('header .menu > button').click();
    await accessible(page, 'menu');
    await l.leave();
  });
}

describe('states', () => {
  test('a page that does not exist, a lesson that does not exist', async () => {
    const l = await learner(world, { lang: 'en' });
    const answer = await l.page.goto(world.url + '/nothing');
    assert.equal(answer.status(), 404);
    assert.match(await l.page.locator('body').innerText(), /이 주소에는 아무것도 없어요[\s\S]*There is nothing at this address/);
    await l.context.close();
  });

  test('a lost connection says so and comes back', async () => {
    const l = await learner(world);
    const sockets = [];
    await l.page.routeWebSocket(/\/live/, (ws) => {
      sockets.push(ws);
      ws.connectToServer();
    });
    await l.start();
    let refuse = true;
    await l.page.route('**/api/labs/*', (r) => (refuse ? r.abort() : r.continue()));
    await sockets.at(-1).close({ code: 1011 });
    await l.page.locator('.banner').waitFor();
    refuse = false;
    await l.page.locator('.banner').waitFor({ state: 'detached' });
    await l.context.close(); // the aborted request is an error in the console, as it should be
  });

  test('a lab that is gone says so and offers a new one', async () => {
    const l = await (await learner(world)).start();
    await l.page.evaluate(() => fetch('/api/labs/deploy-by-plan', { method: 'DELETE' }));
    await l.page.locator('.banner.gone').waitFor();
    await l.page.locator('.banner.gone button').click();
    await l.page.locator('.banner').waitFor({ state: 'detached' });
    await l.prompt();
    await l.leave();
  });

  test('programs that are compiled for the first time are shown until they are ready', async () => {
    const l = await learner(world);
    let live;
    await l.page.routeWebSocket(/\/live/, (ws) => {
      live = ws;
      ws.connectToServer();
    });
    await l.start();
    await l.page.locator('[aria-label*="node-1"]').first().waitFor();
    live.send(JSON.stringify({ type: 'programs', programs: [{ Name: 'kubectl', Done: 0.42 }] }));
    await l.page.locator('.programs').filter({ hasText: 'kubectl 42%' }).waitFor();
    live.send(JSON.stringify({ type: 'programs' }));
    await l.page.locator('.programs').waitFor({ state: 'detached' });
    await l.leave();
  });

  test('on a phone the terminal’s page says what the text says new', async () => {
    const l = await (await learner(world, { width: 390, height: 844 })).start();
    const { page } = l;
    const strip = page.locator('.banner.peek');
    await page.locator('.bottom button').nth(1).click();
    await l.type('kubectl aply -f web.yaml');
    await strip.filter({ hasText: 'aply' }).waitFor();
    await strip.getByRole('button', { name: l.t.text }).click();
    await page.locator('.missing .wrong').waitFor();
    assert.equal(await strip.count(), 0);
    await page.locator('.bottom button').nth(1).click();
    await l.type('kubectl apply -f web.yaml');
    await strip.waitFor();
    await page.locator('.bottom button').nth(0).click();
    await page.locator('.task.done').first().waitFor();
    await l.leave();
  });

  test('the pages stay within their weight', async () => {
    const l = await learner(world);
    const { page } = l;
    const weigh = (drop) => page.evaluate((drop) => Math.round((performance.getEntriesByType('resource').filter((r) => !/\.woff2|\/api\//.test(r.name) && !new RegExp(drop).test(r.name)).reduce((n, r) => n + r.encodedBodySize, 0) + performance.getEntriesByType('navigation')[0].encodedBodySize) / 1000), drop);
    await page.goto(world.url);
    await page.locator('.catalogue li').first().waitFor();
    const home = await weigh('Lesson|codemirror|html-');
    await l.start();
    await page.getByRole('tab', { name: l.t.manifest }).click();
    await page.locator('.cm-line').first().waitFor();
    const all = await weigh('^$');
    console.log(`# home page ${home} KB (target 100), lesson page in all ${all} KB (target 650), compressed, without fonts`);
    assert.ok(home > 10 && home <= 100 && all <= 650, `home ${home} KB, lesson ${all} KB`);
    await l.leave();
  });

  test('no room: the page says so, and goes in when there is some', async () => {
    const l = await learner(world, { lang: 'en' });
    let full = true;
    await l.page.route('**/api/labs?*', (r) =>
      full && r.request().method() === 'POST' ? r.fulfill({ status: 503, contentType: 'application/json', body: '{"code":"labs-full","params":{"limit":1}}' }) : r.continue());
    await l.page.goto(world.url);
    await l.page.getByRole('button', { name: l.t.start }).click();
    await l.page.getByRole('alert').filter({ hasText: 'Every place is taken' }).waitFor();
    full = false;
    await l.page.getByRole('button', { name: 'Try now' }).click();
    await l.page.locator('.task.current').waitFor();
    await l.context.close();
  });

  test('switching the language in the middle keeps everything', async () => {
    const l = await (await learner(world)).start();
    await l.type('kubectl apply -f web.yaml');
    await l.ticked(1);
    await l.page.locator('header .quiet[lang=en]').click();
    await l.page.locator('h1').filter({ hasText: 'Deploy to plan' }).waitFor();
    assert.match(await l.page.locator('.task.done .why').innerText(), /you applied Deployment web/);
    await l.shows('kubectl apply -f web.yaml');
    await l.leave();
  });

  test('reduced motion moves nothing', async () => {
    const l = await (await learner(world, { reducedMotion: 'reduce' })).start();
    await l.type('kubectl apply -f web.yaml');
    await l.ticked(1);
    assert.equal(await l.page.evaluate(() => Math.max(0, ...[...document.querySelectorAll('.tile, .at')].map((e) => parseFloat(getComputedStyle(e).transitionDuration) + parseFloat(getComputedStyle(e).animationDuration)))) < 0.01, true);
    await l.leave();
  });
});
