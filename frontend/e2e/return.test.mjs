// A learner who comes back: to a server that was killed and started again in between, and in another browser, by the return code.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { learner, open, serve } from './harness.mjs';

let world;
before(async () => (world = await open()));
after(() => world?.close());

test('the next day, and in another browser', { skip: process.env.DRYDOCK_URL ? 'the program runs already' : false }, async () => {
  let portal = await serve();
  const l = await learner({ ...world, url: portal.url });
  const { page } = l;
  await l.start();
  await l.type('echo written-before > notes.txt; kubectl create configmap kept --from-literal=a=b');
  await l.line('configmap/kept created');
  const code = (await page.locator('.code code').innerText()).trim();
  assert.match(code, /^[0-9a-z]{5}-[0-9a-z]{5}$/);
  await l.type('sleep 0.1; echo "that was $((6 * 7))"'); // by then everything before is written: the window is 10 ms
  await l.line('that was 42');
  await page.goto('about:blank'); // the laptop is closed
  await portal.kill();
  portal = await serve(portal);

  await l.start();
  await l.line('that was 42'); // what the terminal showed
  await page.getByText(/^(잠들어 있던 랩이 깼어요|The lab slept)/).waitFor();
  await l.type('cat notes.txt; kubectl get configmap kept -o name');
  await l.line('written-before');
  await l.line('configmap/kept');

  const other = await learner({ ...world, url: portal.url }, { lang: 'en', width: 390, height: 800 });
  await other.page.goto(portal.url);
  await other.page.getByText('I have a return code').click();
  const field = other.page.getByLabel('Return code', { exact: true });
  await field.fill('00000-00000');
  await field.press('Enter');
  await other.page.getByRole('alert').getByText('No lab has this code').waitFor();
  await field.fill(' ' + code.toUpperCase());
  await field.press('Enter');
  await other.page.locator('.task.current').waitFor();
  assert.equal(await other.page.evaluate(() => fetch('/api/labs/deploy-by-plan/files/notes.txt').then((r) => r.text())), 'written-before\n');
  await other.leave();

  await page.getByRole('button', { name: /^(랩 메뉴|Lab menu)/ }).click();
  await page.getByRole('button', { name: /^돌아오기 코드 새로 만들기/ }).click();
  await page.waitForFunction((was) => document.querySelector('.code code').innerText.trim() !== was, code);
  await l.leave();
  await portal.stop();
});
