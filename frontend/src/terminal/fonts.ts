import '@fontsource/nanum-gothic-coding/400.css';
import '@fontsource/nanum-gothic-coding/700.css';

export const family = '"Nanum Gothic Coding"';

/** Loads what a terminal shows first (Latin and a common Hangul piece), so that its cells are measured once. Gives up after `within` ms. */
export async function ready(within = 250): Promise<void> {
  const wait = new Promise<void>((done) => setTimeout(done, within));
  const load = Promise.all([document.fonts.load(`14px ${family}`, 'Ag0$'), document.fonts.load(`700 14px ${family}`, 'Ag0$'), document.fonts.load(`14px ${family}`, '가한글')]);
  await Promise.race([wait, load.then(() => undefined, () => undefined)]);
}
