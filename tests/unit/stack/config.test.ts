import { expect, test } from 'bun:test'
import { renderNotice } from '../../../lib/stack/actions/notify.ts'
import { prunable, repositoryOf } from '../../../lib/stack/actions/status.ts'
import { parseStacks } from '../../../lib/stack/config.ts'
import { CONFIG } from './planted.ts'

test('a whole section is read with its defaults', () => {
  const [stack] = parseStacks(CONFIG, 'config.json')
  expect(stack).toMatchObject({
    name: 'shop',
    project: 'shop',
    startS: 120,
    drainS: 15,
    nginx: { service: 'nginx', config: 'nginx' },
  })
  expect(stack?.environments.map(({ name, on }) => `${name} ${on}`)).toEqual(['dev local', 'prod ssh'])
})

test.each([
  ['"drain_s": 15', '"drain_s": "long"', 'stacks.shop.drain_s: must be a whole number of seconds'],
  ['"drain_s": 15', '"drian_s": 15', 'unknown key; did you mean "drain_s"?'],
  ['"prod": {', '"prd": {', 'is no environment; did you mean "prod"?'],
  ['"directory": "/opt/shop"', '"directory": "shop"', 'must be an absolute path on the host'],
  [', "directory": "/opt/shop"', '', 'needs "directory"'],
  ['"on": "ssh"', '"on": "telnet"', '"local" or "ssh"'],
  ['"file": "docker-compose.dev.yml"', '', 'names no Compose file'],
  ['"services": ["api", "web", "python-api", "nginx"]', '"services": ["a b"]', 'must be a list of service names'],
  ['"stacks"', '"stakcs"', 'has no group "stacks"'],
])('%p written as %p is refused with its place', (from, to, says) => {
  expect(CONFIG).toContain(from)
  expect(() => parseStacks(CONFIG.replace(from, to), 'config.json')).toThrow(says)
})

test('images go only when no container, no recorded release and no wanted service has them', () => {
  const image = (id: string, used = false) => ({ id, refs: [`app:${id}`], bytes: 1, used })
  const manifest = {
    id: 'r1',
    atMs: 1,
    by: 'me',
    fixtures: '',
    services: { api: { image: 'app:b', imageId: 'b', hash: '', digests: [] } },
  }
  expect(
    prunable([image('a', true), image('b'), image('c'), image('d')], [manifest], new Set(['d'])).map(({ id }) => id),
  ).toEqual(['c'])
})

test.each([
  ['app:1', 'app'],
  ['registry.example.com:5000/team/app', 'registry.example.com:5000/team/app'],
  ['registry.example.com:5000/team/app:1@sha256:00', 'registry.example.com:5000/team/app'],
])('the repository of %p is %p', (image, repository) => expect(repositoryOf(image)).toBe(repository))

test('a notice cannot be taken for Slack’s own marks', () => {
  const notice = {
    stack: 'shop',
    environment: 'prod',
    kind: 'deploy',
    ok: false,
    who: 'me',
    seconds: 1,
    why: '<!channel> & co',
  } as const
  expect(renderNotice(notice)).toBe('shop was NOT deployed to prod by me: &lt;!channel&gt; &amp; co')
})
