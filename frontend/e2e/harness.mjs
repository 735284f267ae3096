// Starts a portal and a Chromium for the browser tests.
//
//   DRYDOCK_BIN   the program to serve with (default ../bin/drydock)
//   DRYDOCK_URL   a portal that runs already, instead
//   DRYDOCK_PATIENCE  how many ms a step may take (default 120000); DRYDOCK_SHOTS  a folder for real.test's pictures
//   CHROME_BIN    the browser (default: chromium, chromium-browser or google-chrome in PATH)
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

function findBrowser() {
  if (process.env.CHROME_BIN) return process.env.CHROME_BIN;
  for (const dir of (process.env.PATH ?? '').split(delimiter))
    for (const name of ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']) {
      try {
        accessSync(join(dir, name), constants.X_OK);
        return join(dir, name);
      } catch {
        // not here
      }
    }
  throw new Error('The browser tests need Chromium: install the package `chromium` (Debian: apt-get install chromium) or set CHROME_BIN.');
}

const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  // a name that is not this computer's own, as a classroom's address is: no secure context
  '--host-resolver-rules=MAP drydock.test 127.0.0.1'];

/** How long a step may take: generous, since compiling for a first start may be under way. */
export const patience = Number(process.env.DRYDOCK_PATIENCE ?? 120_000);

/**
 * Starts the program, or takes the one that runs already; answers once it has told its address. `again` starts it anew at the address and with
 * the data folder of one whose `kill` was called.
 */
export async function serve(again) {
  if (process.env.DRYDOCK_URL) return { url: process.env.DRYDOCK_URL.replace(/\/$/, ''), stop: async () => {} };
  const bin = process.env.DRYDOCK_BIN ?? fileURLToPath(new URL('../../bin/drydock', import.meta.url));
  assert.ok(existsSync(bin), `There is no program at ${bin}: build it first (task build), or set DRYDOCK_BIN.`);
  const data = again?.data ?? mkdtempSync(join(tmpdir(), 'drydock-e2e-'));
  const child = spawn(bin, ['serve', '--listen', again ? new URL(again.url).host : '127.0.0.1:0', '--data', data], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  const url = await new Promise((done, fail) => {
    const hear = (chunk) => {
      said += chunk;
      const m = /https?:\/\/[^\s/]+:\d+/.exec(said);
      if (m) done(m[0].replace(/^https:/, 'http:'));
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.on('exit', (code) => fail(new Error(`drydock serve ended with ${code}: ${said}`)));
    child.on('error', fail);
  });
  return {
    url,
    data,
    /** Ends the program as a power cut does; its data stays. */
    kill: () =>
      new Promise((done) => {
        child.removeAllListeners('exit');
        child.on('exit', done);
        child.kill('SIGKILL');
      }),
    stop: () =>
      new Promise((done) => {
        const gone = () => {
          rmSync(data, { recursive: true, force: true });
          done();
        };
        child.removeAllListeners('exit');
        if (child.exitCode !== null || child.signalCode !== null) return gone();
        child.on('exit', gone);
        child.kill('SIGINT');
      }),
  };
}

/** A portal and a browser; `close` ends both. */
export async function open() {
  const executablePath = findBrowser();
  const portal = await serve();
  const browser = await chromium.launch({ executablePath, args: flags });
  return {
    url: portal.url,
    /** The program behind it is Drydock and not the double of the portal's own tests. */
    real: (await (await fetch(portal.url + '/api/info')).json()).version !== 'page',
    lan: portal.url.replace(/\/\/[^:]+/, '//drydock.test'),
    browser,
    async close() {
      await browser.close();
      await portal.stop();
    },
  };
}

/** A learner: a browser window of their own, whose errors and outside requests fail the test at the end. */
export async function learner(world, { lang = 'ko', theme = 'light', width = 1440, height = 900, url = world.url, ...more } = {}) {
  const phone = width < 500;
  const context = await world.browser.newContext({ viewport: { width, height }, colorScheme: theme, locale: lang === 'ko' ? 'ko-KR' : 'en-US', hasTouch: phone, isMobile: phone, ...more });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  const wrong = [];
  page.on('pageerror', (e) => wrong.push(`page error: ${e.message}`));
  page.on('console', (m) => {
    if (m.type() === 'error' && !/status of (404|403|409|429)/.test(m.text())) wrong.push(`console: ${m.text()}`);
  });
  page.on('request', (r) => {
    const u = new URL(r.url());
    if (!['data:', 'blob:'].includes(u.protocol) && u.host !== new URL(url).host) wrong.push(`outside request: ${r.url()}`);
  });
  const t = lang === 'ko' ? ko : en;
  /** Waits for a condition of the page; what the terminal shows instead is part of the error. */
  const told = (what, wait) =>
    wait.catch(async (e) => {
      const text = (selector, otherwise) => page.locator(selector).innerText({ timeout: 1000 }).catch(() => otherwise);
      throw new Error(`waited for ${what}; the terminal shows:\n${await text('.screen:not([hidden]) .xterm-rows', '(nothing)')}\nand the task says: ${await text('.task.current .missing', '(nothing)')}\n${e.message}`);
    });
  const seen = (what, condition, arg) => told(what, page.waitForFunction(condition, arg, { timeout: patience }));
  return {
    page, context, t, url,
    /** Opens a lesson from the catalogue, by its title. */
    async start(title = t.deploy) {
      await page.goto(url + '/');
      await page.getByRole('link', { name: title }).click();
      await page.locator('.task.current').waitFor();
      if (!phone) await this.prompt();
      return this;
    },
    /** Waits for a prompt in the terminal in front. */
    prompt: () => seen('a prompt', () => /[$#]\s*$/.test(document.querySelector('.screen:not([hidden]) .xterm-rows')?.innerText.trimEnd() ?? '')),
    /** What the terminal in front shows. */
    screen: () => page.locator('.screen:not([hidden]) .xterm-rows').innerText(),
    shows: (text) => seen(JSON.stringify(text), (s) => document.querySelector('.screen:not([hidden]) .xterm-rows')?.innerText.replaceAll('\u00a0', ' ').includes(s), text),
    /** Waits for a line that holds this and no more. */
    line: (text) => seen(`the line ${JSON.stringify(text)}`, (s) => document.querySelector('.screen:not([hidden]) .xterm-rows')?.innerText.replaceAll('\u00a0', ' ').split('\n').some((l) => l.trim() === s), text),
    focusTerminal: () => page.evaluate(() => document.querySelector('.screen:not([hidden]) textarea')?.focus()),
    /** Types a command line and Enter. */
    async type(line) {
      await this.prompt();
      await this.focusTerminal();
      await page.keyboard.type(line);
      await page.keyboard.press('Enter');
    },
    interrupt: async () => {
      await page.evaluate(() => document.querySelector('.screen:not([hidden]) textarea')?.focus());
      await page.keyboard.press('Control+c');
    },
    /** Waits until the control has focus that a Tab leads to, so many Tabs at most. */
    async tabTo(locator, most = 40) {
      for (let i = 0; i < most; i++) {
        if (await locator.evaluate((el) => el === document.activeElement)) return;
        await page.keyboard.press('Tab');
      }
      throw new Error(`${most} Tabs do not lead to ${locator}`);
    },
    ticked: (n) => told(`tick ${n}`, page.locator('.task.done').nth(n - 1).waitFor()),
    async leave() {
      await context.close();
      assert.deepEqual(wrong, []);
    },
  };
}

const ko = { text: '글에서 보기', start: '첫 컨테이너 실행하기', deploy: '계획대로 배포하기', again: '이어서 하기', wrong: '방금 입력', hint: '힌트 1 보기', apply: '저장하고 적용', undo: '되돌리기', manifest: '매니페스트', table: '표', run: /^실행:/, insert: /^프롬프트에 넣기:/ };
const en = { text: 'Show the text', start: 'Run your first container', deploy: 'Deploy to plan', again: 'Continue', wrong: 'You typed', hint: 'Show hint 1', apply: 'Save and apply', undo: 'Undo', manifest: 'Manifest', table: 'Table', run: /^Run:/, insert: /^Insert at the prompt:/ };
