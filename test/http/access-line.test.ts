import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type AccessLine, formatAccessLine } from '../../src/http/access-line.ts';
import { incoming } from './incoming.ts';

const AT = new Date('2026-01-02T03:04:05.678Z');
const HOSTILE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

function lineOf(line: Partial<AccessLine> = {}, headers: readonly string[] = []): AccessLine {
  return {
    req: incoming({ headers }),
    target: '/team/app@sha256=00/signature-1',
    at: AT,
    address: '192.0.2.1',
    token: null,
    status: 200,
    bytes: 573,
    durationMs: 1.25,
    ...line,
  };
}

// what log tools take the format for: fields between blanks, and three in quotes, in which a backslash escapes
const COMBINED =
  /^(?<address>\S+) - (?<token>\S+) \[(?<at>[^\]]+)\] "(?<request>(?:[^"\\]|\\.)*)" (?<status>\d{3}) (?<bytes>\d+) "(?<referer>(?:[^"\\]|\\.)*)" "(?<agent>(?:[^"\\]|\\.)*)"$/u;

const hostileText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc
    .array(
      fc.constantFrom(
        '"',
        '\\',
        '\n',
        '\r',
        '\u2028',
        '\u001b[2J',
        '\u202e',
        '\u0085',
        ' ',
        'x',
        '" 200 1 "',
      ),
    )
    .map((parts) => parts.join('')),
);

describe('lines of the access log', () => {
  test('a request is one line as Apache writes it', () => {
    const line = formatAccessLine('combined', lineOf({}, ['User-Agent', 'Go-http-client/1.1']));
    assert.equal(
      line,
      '192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] "GET /team/app@sha256=00/signature-1 HTTP/1.1" 200 573 "-" "Go-http-client/1.1"',
    );
  });

  test('of the way back from an OpenID provider the query is masked, which has the code of a log-in', () => {
    const target = '/sigs/ui/log-in/sso?code=c0de&state=st4te';
    for (const format of ['combined', 'json'] as const) {
      const line = formatAccessLine(format, lineOf({ target }, ['Referer', `https://s.example${target}`]));
      assert.match(line, /\/sigs\/ui\/log-in\/sso\?/);
      assert.doesNotMatch(line, /c0de|st4te/);
    }
  });

  test('the token, the method and what the request came from are in it', () => {
    const req = incoming({
      method: 'HEAD',
      headers: ['Referer', 'https://a.example/', 'User-Agent', 'curl/8'],
    });
    const line = formatAccessLine(
      'combined',
      lineOf({ req, token: 'ci', status: 404, bytes: 0, target: '/x?y=1' }),
    );
    assert.equal(
      line,
      '192.0.2.1 - ci [02/Jan/2026:03:04:05 +0000] "HEAD /x?y=1 HTTP/1.1" 404 0 "https://a.example/" "curl/8"',
    );
  });

  test('every month has its name', () => {
    const months = Array.from({ length: 12 }, (_, month) => {
      const at = new Date(Date.UTC(2026, month, 28, 23, 59, 59));
      return COMBINED.exec(formatAccessLine('combined', lineOf({ at })))?.groups?.at?.slice(3, 6);
    });
    assert.equal(months.join(' '), 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec');
  });

  test('a token that a client has put where it does not belong is masked, and nothing else', () => {
    const token = `lookaside_${'0123456789abcdef'.repeat(4)}`;
    const target = `/team/lookaside_app@sha256=${'a'.repeat(64)}/signature-1`;
    const headers = ['Referer', `https://sig.example/?token=${token}&x`, 'User-Agent', `curl ${token}`];
    for (const format of ['combined', 'json'] as const) {
      for (const sent of [token, token.replace('_', '%5F'), token.toUpperCase(), token.slice(0, 40)]) {
        const line = formatAccessLine(format, lineOf({ target: `${target}?a=${sent}&b=c` }, headers));
        assert.doesNotMatch(line, /[0-9]{8}/);
        assert.match(line, /\?a=lookaside(?:_|%5F)\*{4}&b=c[" ]/i);
        assert.match(line, /curl lookaside_\*{4}"/);
        assert.ok(line.includes(target), line);
      }
    }
    const line = formatAccessLine('combined', lineOf({}, headers));
    assert.match(line, /"https:\/\/sig\.example\/\?token=lookaside_\*{4}&x"/);
  });

  test('a request as JSON is one line with every field', () => {
    const line = formatAccessLine('json', lineOf({ token: 'ci' }, ['User-Agent', 'curl/8']));
    assert.deepEqual(JSON.parse(line), {
      time: '2026-01-02T03:04:05.678Z',
      address: '192.0.2.1',
      token: 'ci',
      method: 'GET',
      target: '/team/app@sha256=00/signature-1',
      status: 200,
      bytes: 573,
      durationMs: 1.25,
      agent: 'curl/8',
    });
    assert.equal(JSON.parse(formatAccessLine('json', lineOf())).agent, null);
  });

  test('whatever a request says, it is one combined line with its fields in their places', () => {
    fc.assert(
      fc.property(hostileText, hostileText, hostileText, (target, agent, referer) => {
        const line = formatAccessLine(
          'combined',
          lineOf({ target }, ['User-Agent', agent, 'Referer', referer]),
        );
        assert.doesNotMatch(line, HOSTILE);
        const fields = COMBINED.exec(line)?.groups;
        assert.equal(fields?.status, '200');
        assert.equal(fields?.bytes, '573');
        assert.ok(fields?.request?.startsWith('GET ') && fields.request.endsWith(' HTTP/1.1'));
      }),
    );
  });

  test('whatever a request says, it is one line of JSON that says it', () => {
    fc.assert(
      fc.property(hostileText, hostileText, (target, agent) => {
        const line = formatAccessLine('json', lineOf({ target }, ['User-Agent', agent]));
        assert.doesNotMatch(line, HOSTILE);
        const parsed = JSON.parse(line);
        assert.equal(parsed.target, target);
        assert.equal(parsed.agent, agent);
      }),
    );
  });
});
