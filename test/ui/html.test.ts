import assert from 'node:assert/strict';
import { test } from 'node:test';
import { html, render } from '../../src/ui/html.ts';

test('what stands in a template is escaped, whatever it holds, unless a template made it', () => {
  const hostile = `<script>alert("1")</script>' & \u202e\u001b[31m`;
  assert.equal(
    render(html`<b title="${hostile}">${hostile}</b>`),
    '<b title="&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39; &amp; \ufffd\ufffd[31m">&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39; &amp; \ufffd\ufffd[31m</b>',
  );
  assert.equal(
    render(html`<ul>${['<a>', html`<li>${1}</li>`, null, false]}</ul>`),
    '<ul>&lt;a&gt;<li>1</li></ul>',
  );
});

test('an object that looks like markup is no markup', () => {
  const forged = JSON.parse('{"text":"<script>","Symbol(markup)":"<script>"}');
  assert.equal(render(html`${forged}`), '');
});
