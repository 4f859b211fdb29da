/** Why a deploy failed, from what can be seen: one line per cause. */

import { describe, expect, test } from 'bun:test'
import { diagnose, type Symptoms } from '../../../lib/apps/diagnose.ts'
import { sameVersion } from '../../../lib/apps/public.ts'

const seen = (symptoms: Partial<Symptoms>): Symptoms => ({
  app: { name: 'web', port: 3000, domains: [] },
  stage: 'start',
  log: [],
  taskErrors: [],
  oomKilled: false,
  ...symptoms,
})
const UNHEALTHY = 'task: non-zero exit (137): dockerexec: unhealthy container'

const CASES: [string, Partial<Symptoms>, string, string][] = [
  [
    'a Node server on another port',
    { log: ['Server listening on http://0.0.0.0:8080'], taskErrors: [UNHEALTHY] },
    'port',
    '8080',
  ],
  [
    'uvicorn on another port',
    { log: ['INFO:     Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)'], taskErrors: [UNHEALTHY] },
    'port',
    '8000',
  ],
  ['Vite', { log: ['  ➜  Local:   http://localhost:5173/'], taskErrors: [UNHEALTHY] }, 'port', '5173'],
  [
    'the right port, another path',
    { log: ['listening on port 3000', 'GET /health 404 1ms'], taskErrors: [UNHEALTHY] },
    'path',
    '/health',
  ],
  ['nginx’s log of another path', { log: ['127.0.0.1 - - "GET /up HTTP/1.1" 404 153'], taskErrors: [UNHEALTHY] }, 'path', '/up'],
  [
    'a variable by its name',
    { log: ['Error: required environment variable DATABASE_URL is not set'], exitCode: 1 },
    'env',
    'DATABASE_URL',
  ],
  ['a Python KeyError', { log: ["KeyError: 'SECRET_KEY'"], exitCode: 1 }, 'env', 'SECRET_KEY'],
  ['a variable that must be set', { log: ['STRIPE_KEY must be set'], exitCode: 1 }, 'env', 'STRIPE_KEY'],
  ['the kernel’s kill', { exitCode: 137 }, 'memory', 'memory'],
  ['Docker’s word for it', { oomKilled: true, exitCode: 137 }, 'memory', 'memory'],
  [
    'V8’s heap',
    { log: ['FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory'], exitCode: 134 },
    'memory',
    'memory',
  ],
  [
    'an unhealthy container is not out of memory',
    { taskErrors: [UNHEALTHY], exitCode: 137, log: ['listening on port 3000', 'GET / 503'] },
    'unhealthy',
    'health check',
  ],
  [
    'a check that cannot run, which only its own output says',
    { healthOutput: '/bin/sh: 1: wget: not found\n/bin/sh: 1: curl: not found', healthFailures: 3, exitCode: 137 },
    'path',
    'wget',
  ],
  [
    'a service that ends well when it is stopped for being unhealthy',
    { log: ['listening on port 3000'], healthFailures: 3, healthOutput: 'HTTP Error 503', exitCode: 0 },
    'unhealthy',
    'health check',
  ],
  [
    'one that ends by itself while its check fails',
    { log: ['TypeError: x is undefined'], healthFailures: 1, exitCode: 1 },
    'crash',
    'exit code 1',
  ],
  ['a crash without a word', { log: ['TypeError: x is undefined'], exitCode: 1 }, 'crash', 'exit code 1'],
  ['a build', { stage: 'build' as const, log: ['npm ERR! missing script: build'] }, 'build', 'build'],
  [
    'an image that is not there',
    { stage: 'build' as const, log: ['manifest for web:9 not found: manifest unknown'] },
    'image',
    'image',
  ],
  [
    'a gateway’s error',
    {
      stage: 'outside' as const,
      status: 502,
      outside: 'wrong_answer' as const,
      outsideError: 'https://a answers with status 502',
    },
    'outside',
    '502',
  ],
  [
    'no certificate is not the port’s fault',
    { stage: 'outside' as const, outside: 'unreachable' as const, outsideError: 'not trusted', log: ['listening on :9999'] },
    'outside',
    'not trusted',
  ],
  ['nothing at all', {}, 'unknown', 'in time'],
]

describe('the cause', () => {
  test.each(CASES)('%s', (_name, symptoms, cause, word) => {
    const found = diagnose(seen(symptoms))
    expect<string>(found.cause).toBe(cause)
    expect(found.says).toContain(word)
    expect(found.hint).not.toBe('')
  })
})

test('of a name that moves here names what it lacks until then', () => {
  const outside = { stage: 'outside', outside: 'unreachable', outsideError: 'not trusted' } as const
  expect(diagnose(seen({ ...outside, movingName: 'www.example.com' })).hint).toBe(
    'Until www.example.com leads here: bun scripts/dns.ts certificate, then deploy again; or leave the public address out with --inside-only',
  )
  expect(diagnose(seen(outside)).hint).toContain('bun scripts/doctor.ts')
})

describe('a version is recognised', () => {
  test.each([
    ['1.4.2', '1.4.2', true],
    ['749c6dd', '749c6dd9f079b98d29dc3927f8f6edc287aa6534', true],
    ['749c6dd9f079b98d29dc3927f8f6edc287aa6534', '749c6dd', true],
    ['{"version":"1.4.2"}', '1.4.2', true],
    ['version 1.4.2', '1.4.2', true],
    ['1.4.20', '1.4.2', false],
    ['11.4.2', '1.4.2', false],
    ['1x4x2', '1.4.2', false],
    [undefined, '1.4.2', false],
    ['', '1.4.2', false],
  ] as const)('%p shows %p: %p', (shown, wanted, same) => {
    expect(sameVersion(shown, wanted)).toBe(same)
  })
})
