// A class: a teacher and three learners, each in a browser context of their own; one of them is stuck.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { learner, open } from './harness.mjs';

let world;
before(async () => (world = await open()));
after(() => world?.close());

/** Opens a class as a teacher would, at the address of the network, and answers their window and the join address. */
async function teach(name) {
  const l = await learner(world, { lang: 'ko', url: world.lan });
  const { page } = l;
  await page.goto(world.lan + '/class');
  await page.getByLabel('수업 이름').fill(name);
  await page.getByRole('button', { name: '수업 열기' }).click();
  await page.locator('.address').waitFor();
  assert.equal(new URL(page.url()).hash, '', 'the secret has left the address bar');
  const join = (await page.locator('.address').innerText()).trim();
  return { ...l, join: world.lan + new URL(join).pathname };
}

async function join(address, nickname, lang = 'ko') {
  const l = await learner(world, { lang, url: world.lan });
  await l.page.goto(address);
  await l.page.locator('#nickname').fill(nickname);
  await l.page.locator('form button').click();
  await l.page.locator('ol a').first().waitFor();
  return {
    ...l,
    async begin() {
      await l.page.locator('ol a[href="/lessons/deploy-by-plan"]').click();
      await l.page.locator('.task.current').waitFor();
      await l.prompt();
    },
  };
}

const rowOf = (page, name) => page.locator('tbody tr').filter({ has: page.getByRole('rowheader', { name, exact: true }) });

test('a teacher sees three learners, looks on at the one who is stuck, releases the solution and closes', async () => {
  const teacher = await teach(`3-2 반 ${Date.now()}`);
  const stuck = await join(teacher.join, '민준');
  const quick = await join(teacher.join, '서연');
  const strange = await join(teacher.join, '<script>x=1</script>', 'en');
  await stuck.begin();
  await quick.begin();
  const { page } = teacher;
  await rowOf(page, '<script>x=1</script>').getByText('아직 랩이 없어요').waitFor();
  assert.equal(await page.evaluate(() => window.x), undefined, 'a nickname is text');

  // the quick one ticks the first task and leaves the first place of the table to the stuck one
  await quick.type('kubectl apply -f web.yaml');
  await quick.ticked(1);
  await rowOf(page, '서연').getByText('1/5').waitFor();
  await page.waitForFunction(() => document.querySelector('tbody th')?.textContent === '민준');
  assert.match(await rowOf(page, '민준').locator('.check').innerText(), /[가-힣]/, 'the last red check in the language of the teacher');

  await stuck.type('echo 여기예요');
  await stuck.line('여기예요');
  await page.getByRole('button', { name: '민준 화면 보기' }).click();
  await page.waitForFunction(() => document.querySelector('dialog .xterm-rows')?.innerText.includes('여기예요'));
  await stuck.page.locator('.watched').waitFor();
  await page.locator('dialog textarea.xterm-helper-textarea').focus();
  await page.keyboard.type('echo from-teacher');
  await page.keyboard.press('Enter');
  await stuck.type('echo still-mine');
  await stuck.line('still-mine');
  assert.ok(!(await stuck.screen()).includes('from-teacher'), 'the teacher can only look');
  await page.getByRole('tab', { name: '클러스터' }).click();
  await page.locator('dialog svg').first().waitFor();
  await page.getByRole('button', { name: '그만 보기' }).click();
  await stuck.page.locator('.watched').waitFor({ state: 'detached' });

  await page.getByRole('button', { name: '민준 님에게 풀이 보여 주기' }).click();
  await rowOf(page, '민준').getByText('풀이를 볼 수 있어요').waitFor();
  await stuck.page.locator('.task.current').getByRole('button', { name: '풀이 보기' }).click();
  await stuck.page.locator('.solution').waitFor();

  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'CSV 로 내려받기' }).click()]);
  const { readFile } = await import('node:fs/promises');
  const csv = await readFile(await download.path(), 'utf8');
  assert.ok(csv.startsWith('\ufeff별명,'), csv);
  assert.ok(csv.includes('<script>x=1</script>'));

  await page.getByRole('button', { name: '수업 끝내기' }).click();
  await page.getByRole('button', { name: '끝내기', exact: true }).click();
  await stuck.page.locator('.banner.gone').filter({ hasText: '3-2 반' }).waitFor();
  await page.getByText('이 수업은 끝났어요.').waitFor();
  for (const l of [stuck, quick, strange]) await l.page.close();
  await teacher.page.close();
});

test('a stranger sees neither the table nor the links', async () => {
  const teacher = await teach(`second ${Date.now()}`);
  const l = await learner(world, { lang: 'en', url: world.lan });
  await l.page.goto(teacher.join.replace('/join/', '/class/'));
  await l.page.getByText("Open this page with the teacher's link.").waitFor();
  await l.leave();
  await teacher.page.close();
});

test('stage mode: one pane at a time, large, light, the pressed keys in sight, at 1024×768', async () => {
  const l = await learner(world, { lang: 'ko', theme: 'dark', width: 1024, height: 768 });
  const { page } = l;
  await l.start();
  await page.keyboard.press('F8');
  await page.locator('.lesson.stage').waitFor();
  const visible = () => page.evaluate(() => ['.text', '.term', '.view'].filter((s) => document.querySelector('.lesson ' + s)?.checkVisibility()));
  assert.deepEqual(await visible(), ['.term'], 'the pane that had focus');
  await page.waitForFunction(() => parseFloat(getComputedStyle(document.querySelector('.screen:not([hidden]) .xterm-rows')).fontSize) >= 24);
  await l.type('echo stage');
  await l.line('stage');
  await page.locator('.pressed kbd').first().waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'light');
  await page.locator('header').getByRole('button', { name: '글', exact: true }).click();
  assert.deepEqual(await visible(), ['.text']);
  const small = await page.evaluate(() => [...document.querySelectorAll('.text p, .text li, .text code, .text pre')].filter((e) => e.checkVisibility() && parseFloat(getComputedStyle(e).fontSize) < 20).map((e) => e.className + e.textContent.slice(0, 30)));
  assert.deepEqual(small, []);
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, 'nothing sticks out');
  if (process.env.DRYDOCK_SHOTS) await page.screenshot({ path: process.env.DRYDOCK_SHOTS + '/stage.png' });
  await page.keyboard.press('F8');
  await page.locator('.lesson.stage').waitFor({ state: 'detached' });
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark', 'as it was before');
  await l.leave();
});

test('a lesson prints as a handout: every task, on white, without the page around it', async () => {
  const l = await learner(world, { lang: 'ko', theme: 'dark' });
  const { page } = l;
  await l.start();
  assert.equal(await page.locator('.task .text').count(), 1, 'on the screen only the current task is open');
  await page.emulateMedia({ media: 'print' });
  await page.evaluate(() => dispatchEvent(new Event('beforeprint')));
  assert.equal(await page.locator('.task .text').count(), await page.locator('.task').count());
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'light');
  assert.deepEqual(await page.evaluate(() => ['header', '.term', '.view'].filter((s) => document.querySelector('.lesson > ' + s + ', .lesson main > ' + s)?.checkVisibility())), []);
  if (process.env.DRYDOCK_SHOTS) await page.screenshot({ path: process.env.DRYDOCK_SHOTS + '/print.png', fullPage: true });
  await page.evaluate(() => dispatchEvent(new Event('afterprint')));
  assert.equal(await page.locator('.task .text').count(), 1);
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  await l.leave();
});
