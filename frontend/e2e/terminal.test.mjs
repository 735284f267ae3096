// The habits of the terminal.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { learner, open } from './harness.mjs';

let world;
before(async () => (world = await open()));
after(() => world?.close());

/** Composes Korean as an input method does: each step replaces the one before, then it is committed. */
async function compose(cdp, steps, commit) {
  for (const s of steps) await cdp.send('Input.imeSetComposition', { text: s, selectionStart: s.length, selectionEnd: s.length });
  await cdp.send('Input.insertText', { text: commit });
}

test('Korean arrives by composition, each syllable once', async () => {
  const l = await (await learner(world)).start();
  const cdp = await l.context.newCDPSession(l.page);
  await l.focusTerminal();
  await l.page.keyboard.type('echo ');
  await compose(cdp, ['ㅎ', '하', '한'], '한');
  await compose(cdp, ['ㄱ', '그', '글'], '글');
  await l.page.keyboard.type(' ');
  await compose(cdp, ['ㄱ', '가'], '가');
  await compose(cdp, ['ㄴ', '나'], '나');
  await l.page.keyboard.press('Backspace');
  await l.page.keyboard.press('Enter');
  await l.line('한글 가');

  // a composition that Ctrl+C interrupts leaves nothing behind
  await compose(cdp, ['ㄷ', '도'], '도');
  await l.page.keyboard.press('Control+c');
  await l.page.keyboard.type('echo after');
  await l.page.keyboard.press('Enter');
  await l.shows('after');
  assert.ok(!(await l.screen()).includes('도echo'));
  await l.leave();
});

test('syllables and keys that queue up behind a busy page arrive once and in order', async () => {
  const l = await (await learner(world)).start();
  const cdp = await l.context.newCDPSession(l.page);
  await l.focusTerminal();
  await l.page.keyboard.type('echo ');
  await l.shows('$ echo');
  const key = (key, code, windowsVirtualKeyCode, text) =>
    [{ type: 'keyDown', text }, { type: 'keyUp' }].map((e) => cdp.send('Input.dispatchKeyEvent', { ...e, key, code, windowsVirtualKeyCode }));
  const busy = l.page.evaluate(() => {
    for (const t = performance.now(); performance.now() - t < 500; );
  });
  const queued = [];
  for (const [steps, commit] of [[['ㅎ', '하', '한'], '한'], [['ㄱ', '그', '글'], '글'], [['ㄱ', '가'], '가'], [['ㄴ', '나'], '나']]) {
    for (const s of steps) queued.push(cdp.send('Input.imeSetComposition', { text: s, selectionStart: s.length, selectionEnd: s.length }));
    queued.push(cdp.send('Input.insertText', { text: commit }));
  }
  queued.push(...key('Backspace', 'Backspace', 8), ...key('!', 'Digit1', 49, '!'), ...key('Enter', 'Enter', 13, '\r'));
  await Promise.all([busy, ...queued]);
  await l.line('한글가!');
  await l.leave();
});

test('with the keyboard on Korean, Ctrl+C interrupts', async () => {
  const l = await (await learner(world)).start();
  await l.focusTerminal();
  await l.page.keyboard.type('half a line');
  await l.page.evaluate(() => {
    const area = document.querySelector('.screen:not([hidden]) textarea');
    area.dispatchEvent(new KeyboardEvent('keydown', { key: 'ㅊ', code: 'KeyC', ctrlKey: true, bubbles: true, cancelable: true }));
  });
  await l.shows('^C');
  await l.leave();
});

/** Pastes as Ctrl+V does. */
const paste = (page, text) =>
  page.evaluate((s) => {
    const data = new DataTransfer();
    data.setData('text/plain', s);
    document.querySelector('.screen:not([hidden]) textarea').dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
  }, text);

test('pasting: bracketed, curly quotes repaired, more than five lines shown first', async () => {
  const l = await (await learner(world)).start();
  const { page } = l;
  const dialog = page.locator('.paste');
  await l.focusTerminal();
  await paste(page, 'echo plain');
  await l.shows('$ echo plain');
  assert.equal(await dialog.count(), 0);
  await page.keyboard.press('Control+c');

  await paste(page, 'echo “from\u00a0slides”');
  await dialog.locator('pre').filter({ hasText: 'echo "from slides"' }).waitFor();
  await page.keyboard.press('Enter'); // the repaired one is in front
  await dialog.waitFor({ state: 'detached' });
  await l.shows('$ echo "from slides"');
  await page.keyboard.press('Control+c');

  await paste(page, ['1', '2', '3', '4', '5', '6'].map((n) => `echo line-${n}`).join('\r\n'));
  await dialog.waitFor();
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  assert.ok(!(await l.screen()).includes('line-6'));
  await l.leave();
});

test('Ctrl+C copies what is selected on a plain http address too, and interrupts otherwise', async () => {
  const l = await (await learner(world, { url: world.lan })).start();
  const { page } = l;
  assert.equal(await page.evaluate(() => isSecureContext), false);
  await l.type('echo copy-me');
  await l.shows('copy-me');
  await l.prompt();
  await page.evaluate(() => {
    window.copied = '';
    document.addEventListener('copy', () => (window.copied = document.activeElement?.value ?? ''));
  });
  const box = await page.locator('.screen:not([hidden]) .xterm-screen').boundingBox();
  await page.mouse.dblclick(box.x + 60, box.y + 10);
  await page.keyboard.press('Control+c');
  await page.waitForFunction(() => window.copied !== '');
  assert.ok(!(await l.screen()).includes('^C'));
  await l.focusTerminal();
  await page.keyboard.type('half');
  await page.keyboard.press('Control+c');
  await l.shows('^C');
  // a command of the text is copied the same way
  await page.locator('.cmd .icon').first().click();
  await page.waitForFunction(() => window.copied === 'kubectl apply -f web.yaml');
  await l.leave();
});

test('a command is inserted, and Enter stays the learner’s; run presses it', async () => {
  const l = await (await learner(world)).start();
  const { page } = l;
  await l.focusTerminal();
  await page.keyboard.type('half typed');
  await page.getByRole('button', { name: l.t.insert }).first().click();
  await l.shows('$ kubectl apply -f web.yaml');
  assert.equal(await page.locator('.task.done').count(), 0);
  await page.keyboard.press('Enter');
  await l.ticked(1);
  await page.getByRole('button', { name: l.t.run }).first().click();
  await l.shows('NAME');
  await l.leave();
});

test('keys: F6 goes round the panes, Esc leaves the prompt, Alt+M maximises, ? tells the keys', async () => {
  const l = await (await learner(world)).start();
  const { page } = l;
  const pane = () => page.evaluate(() => ['text', 'term', 'view'].find((p) => document.querySelector(`.pane.${p}`)?.contains(document.activeElement)));
  await l.focusTerminal();
  await page.keyboard.press('F6');
  await page.waitForFunction(() => document.querySelector('.pane.view')?.contains(document.activeElement));
  await page.keyboard.press('F6');
  await page.waitForFunction(() => document.querySelector('.pane.text') === document.activeElement);
  await page.keyboard.press('F6');
  await page.waitForFunction(() => document.activeElement?.classList.contains('xterm-helper-textarea'));
  await page.keyboard.press('Alt+m');
  await page.locator('.lesson.max-terminal').waitFor();
  await page.keyboard.press('Alt+m');
  await page.locator('.lesson:not(.max-terminal)').waitFor();
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => document.activeElement?.getAttribute('role') === 'tab');
  assert.equal(await pane(), 'term');
  await page.keyboard.press('?');
  await page.locator('dialog[open]').waitFor();
  await page.keyboard.press('Escape');
  await page.locator('dialog').waitFor({ state: 'detached' });
  await page.keyboard.press('Alt+3');
  await page.waitForFunction(() => document.querySelector('[role=tab][aria-selected=true]')?.textContent.includes('node-1'));
  await l.prompt();
  await l.leave();
});

test('what a program prints stays text', async () => {
  const l = await (await learner(world)).start();
  const { page } = l;
  await l.type('echo "<img src=x onerror=alert(1)>"');
  await l.shows('<img src=x');
  assert.equal(await page.locator('.xterm-rows img').count(), 0);
  const title = await page.title();
  await l.type(String.raw`printf '\033]0;<b>owned</b>\007\033]52;c;b3duZWQ=\007\033]8;;https://example.test\007%s%s\n' all done`);
  await l.shows('alldone');
  assert.equal(await page.locator('.xterm-rows a').count(), 0);
  assert.equal(await page.title(), title);
  await l.leave();
});
