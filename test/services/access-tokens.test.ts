import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';

import { AccessTokens, TokenListError } from '../../src/services/access-tokens.ts';

const hexOf = (token: string): string => hash('sha256', token, 'hex');

test('a listed token is found with its name and scope, another one is not', () => {
  const tokens = AccessTokens.list(
    `# who may come in\n\nci:write:${hexOf('one')}\r\nops:admin:${hexOf('two').toUpperCase()}\n`,
  );
  assert.equal(tokens.count, 2);
  assert.deepEqual(tokens.find('one'), { name: 'ci', scope: 'write' });
  assert.deepEqual(tokens.find('two'), { name: 'ops', scope: 'admin' });
  assert.equal(tokens.find(hexOf('one')), undefined);
  assert.equal(tokens.find(''), undefined);
});

test('a list that cannot be used is refused without repeating what stands in it', () => {
  const wrong = [
    '',
    '# nothing',
    'ci:write:secret',
    `ci:root:${hexOf('x')}`,
    `:read:${hexOf('x')}`,
    `ci:read:${hexOf('x')}00`,
  ];
  for (const text of wrong) {
    assert.throws(
      () => AccessTokens.list(text),
      (error) => error instanceof TokenListError && !error.message.includes('secret'),
      text,
    );
  }
});

test('a new list takes the place of the old one, and a bad one does not', () => {
  const tokens = AccessTokens.list(`a:read:${hexOf('old')}`);
  assert.throws(() => tokens.replace('nonsense'), TokenListError);
  assert.ok(tokens.find('old'));
  tokens.replace(`a:read:${hexOf('new')}`);
  assert.equal(tokens.find('old'), undefined);
  assert.deepEqual(tokens.find('new'), { name: 'a', scope: 'read' });
});
