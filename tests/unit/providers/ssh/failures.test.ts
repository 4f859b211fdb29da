import { describe, expect, test } from 'bun:test'
import type { Target } from '../../../../lib/providers/ports/machine.ts'
import { type ConnectionFailure, classifyStderr, connectionError } from '../../../../lib/providers/ssh/failures.ts'

const WORDS: readonly (readonly [string, ConnectionFailure])[] = [
  ['@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\nHost key verification failed.\r\n', 'host_key'],
  [
    'No ED25519 host key is known for demo-4711 and you have requested strict checking.\r\nHost key verification failed.',
    'host_key',
  ],
  ['Unable to negotiate with 203.0.113.7 port 22: no matching host key type found. Their offer: ssh-rsa', 'host_key'],
  ['root@203.0.113.7: Permission denied (publickey).', 'forbidden'],
  ['Received disconnect from 203.0.113.7 port 22:2: Too many authentication failures', 'forbidden'],
  ['ssh: connect to host 203.0.113.7 port 22: Connection timed out', 'timeout'],
  ['ssh: connect to host 203.0.113.7 port 22: Operation timed out', 'timeout'],
  ['Connection timed out during banner exchange', 'timeout'],
  ['Timeout, server 203.0.113.7 not responding.', 'timeout'],
  ['ssh: connect to host 203.0.113.7 port 22: Connection refused', 'network'],
  ['ssh: connect to host 203.0.113.7 port 22: No route to host', 'network'],
  ['kex_exchange_identification: Connection closed by remote host', 'network'],
  ['client_loop: send disconnect: Broken pipe', 'network'],
  ['Load key "/home/a/key": Permission denied', 'network'],
  ['', 'network'],
]

for (const [said, kind] of WORDS) test(`"${said.slice(0, 60).trim()}" is ${kind}`, () => expect(classifyStderr(said)).toBe(kind))

describe('the error', () => {
  const target: Target = { name: 'prod', address: '203.0.113.7', port: 22, user: 'root', hostKeyAlias: 'a', hostKey: 'k' }

  test('says which machine, which user and which key', () => {
    const error = connectionError('forbidden', target, 'the key /home/a/key', 'Permission denied (publickey).')
    expect(error.message).toBe('prod (203.0.113.7) refused to log in root with the key /home/a/key.')
    expect(error.hint).toContain('ssh-add -l')
  })

  test('says that nothing was sent to an impostor', () => {
    expect(connectionError('host_key', target, 'a key', '').message).toContain('nothing was sent')
  })

  test('carries ssh’s last line without what a terminal would act on', () => {
    const error = connectionError('network', target, 'a key', 'first\n\u001b]0;owned\u0007Connection \u202erefused\r\n\n')
    expect(error.message).toBe(
      'The SSH connection to prod (203.0.113.7) on port 22 failed:  ]0;owned Connection  refused.'.replace(':  ]', ': ]'),
    )
    expect(connectionError('network', target, 'a key', '').message).toEndWith('it was closed without a reason.')
  })
})
