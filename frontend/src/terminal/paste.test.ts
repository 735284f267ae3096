import { describe, expect, it } from 'vitest';
import { commandLine, encode, inspect, leaveKeys, programOf } from './paste';

describe('pasting', () => {
  it('turns line ends into the terminal’s', () => expect(inspect('a\r\nb\rc\n').text).toBe('a\nb\nc\n'));
  it('drops control characters, so that nothing ends the bracket early', () => expect(inspect('a\u001b[201~rm\u0007').text).toBe('a[201~rm'));
  it('keeps Korean and tabs', () => expect(inspect('파드\t가')).toMatchObject({ text: '파드\t가', smart: false, preview: false }));
  it('repairs what slides make of quotes and spaces', () =>
    expect(inspect('kubectl\u00a0get “pods” ‘x’\u200b')).toMatchObject({ smart: true, preview: true, repaired: 'kubectl get "pods" \'x\'' }));
  it('shows six lines first, and not five', () => {
    expect(inspect('1\n2\n3\n4\n5\n').preview).toBe(false);
    expect(inspect('1\n2\n3\n4\n5\n6').preview).toBe(true);
  });
  it('brackets where asked to', () => {
    expect(encode('a\nb', true)).toBe('\u001b[200~a\rb\u001b[201~');
    expect(encode('a\nb', false)).toBe('a\rb');
  });
});

describe('a mark’s command line', () => {
  it.each([
    ['cmdline_url=kubectl%20get%20pods', 'kubectl get pods'],
    ['k=v;cmdline_url=a%3B%20b', 'a; b'],
    ['cmdline_url=%E3%85%8F%1b%07x', 'ㅏx'],
    ['', ''],
    ['cmdline_url=%zz', ''],
  ])('%s is %s', (options, line) => expect(commandLine(options)).toBe(line));
});

describe('leaving a program', () => {
  it.each([
    ['vi web.yaml', 'Esc :q!'],
    ['less log', 'q'],
    ['nginx', 'Ctrl+C'],
    ['kubectl logs -f web', 'Ctrl+C'],
    ['kubectl exec -it web -- sh', 'Ctrl+D'],
    ['sh', 'Ctrl+D'],
  ])('%s is left by %s', (line, keys) => expect(leaveKeys(line)).toBe(keys));
  it('names the program', () => expect([programOf('A=1 kubectl get pods'), programOf('vi x'), programOf('')]).toEqual(['kubectl get', 'vi', '']));
});
