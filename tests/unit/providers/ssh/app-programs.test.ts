/** The programs about applications, run by a real shell on a pretended server. */

import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PROGRAM_TEXTS } from '../../../../lib/providers/ssh/programs.ts'
import { Secret } from '../../../../lib/secret.ts'
import { createStage, type Stage } from './stage.ts'

let stage: Stage
beforeEach(() => {
  stage = createStage()
})
afterEach(() => stage.remove())

describe('the releases of an app', () => {
  const append = PROGRAM_TEXTS['append-app-history']
  const read = PROGRAM_TEXTS['read-app-history']
  const add = (app: string, entry: string) => stage.run(append, { APP: app, ENTRY: new Secret('entry', entry, 'unlisted') })
  const entries = (app: string) =>
    stage
      .run(read, { APP: app })
      .stdout.split('\n')
      .slice(0, -1)
      .map(line => Buffer.from(line, 'base64').toString('utf8'))

  test('are absent with exit code 4', () => {
    expect(stage.run(read, { APP: 'web' })).toEqual({ exitCode: 4, stdout: '', stderr: '' })
  })

  test('come back byte for byte, newest last, each app’s own, for root alone', () => {
    const odd = `{"env":[["A","p'w\\"$(id)"]]}\n\n`
    expect(add('web', odd)).toEqual({ exitCode: 0, stdout: 'ok=1\n', stderr: '' })
    add('web', 'two')
    add('api', 'other')
    expect([entries('web'), entries('api')]).toEqual([[odd, 'two'], ['other']])
    expect(statSync(join(stage.root, 'etc/landfall/apps')).mode & 0o777).toBe(0o700)
    expect(statSync(join(stage.root, 'etc/landfall/apps/web')).mode & 0o777).toBe(0o600)
    expect(stage.list('etc/landfall/apps')).toEqual(['api', 'web'])
  })

  test('are at most twenty, and a large one fits', () => {
    for (let n = 0; n < 23; n++) add('web', `entry ${n}`)
    expect(entries('web')).toEqual(Array.from({ length: 20 }, (_, index) => `entry ${index + 3}`))
    const large = 'x'.repeat(300_000)
    add('web', large)
    expect(entries('web').at(-1)).toBe(large)
  })

  test.each(['../../etc/passwd', '.hidden', 'a b', '', '$(id)'])('the name %p is refused', name => {
    expect(add(name, 'x').exitCode).toBe(65)
    expect(stage.run(read, { APP: name }).exitCode).toBe(65)
  })
})

describe('the image of an app', () => {
  const program = PROGRAM_TEXTS['app-image']
  const id = `sha256:${'a1'.repeat(32)}`
  const run = (action: string, image = id, name = 'web-abc123') =>
    stage.run(program, { ACTION: action, APP_NAME: name, IMAGE: image })

  test('is kept under a second tag, and given its first one again', () => {
    stage.command('docker', 'exit 0')
    expect([run('keep').stdout, run('restore').stdout]).toEqual(['image=present\n', 'image=present\n'])
    expect(stage.calls('docker').filter(call => call.startsWith('image tag'))).toEqual([
      `image tag ${id} landfall-kept/web-abc123:last-good`,
      `image tag ${id} web-abc123:latest`,
    ])
  })

  test('that is gone is said to be absent, and nothing is tagged', () => {
    stage.command('docker', 'exit 1')
    expect(run('restore')).toEqual({ exitCode: 0, stdout: 'image=absent\n', stderr: '' })
    expect(stage.calls('docker')).toEqual([`image inspect ${id}`])
  })

  test('is named by its id, its service by its name, and nothing else', () => {
    stage.command('docker', 'exit 0')
    const codes = [
      run('keep', 'web:latest'),
      run('keep', `${id};id`),
      run('keep', id, '-rm'),
      run('keep', id, 'a b'),
      run('drop'),
    ].map(each => each.exitCode)
    expect(codes).toEqual([65, 65, 65, 65, 65])
    expect(stage.calls('docker').filter(call => call.includes('tag'))).toEqual([])
  })
})

describe('what registries call an image', () => {
  const program = PROGRAM_TEXTS['read-app-image']
  const run = (image: string) => stage.run(program, { IMAGE: image })
  const digest = `sha256:${'b2'.repeat(32)}`

  test('is read of a name and of an id', () => {
    stage.command('docker', `echo 'web@${digest} ghcr.io/acme/web@${digest} '`)
    for (const image of ['ghcr.io:443/acme/web:1', digest])
      expect(run(image)).toMatchObject({
        exitCode: 0,
        stdout: `image=present\ndigests=web@${digest} ghcr.io/acme/web@${digest} \n`,
      })
  })

  test('is nothing of an image that is not there', () => {
    stage.command('docker', 'exit 1')
    expect(run('web:1')).toEqual({ exitCode: 0, stdout: 'image=absent\n', stderr: '' })
  })

  test.each(['', '--help', 'web:1 x', '$(id)'])('%p is refused', image => {
    stage.command('docker', 'exit 0')
    expect(run(image).exitCode).toBe(65)
    expect(stage.calls('docker')).toEqual([])
  })
})

describe('what one task wrote', () => {
  const program = PROGRAM_TEXTS['task-log']

  test('is the end of both its streams, and what Docker says when there is none', () => {
    stage.command('docker', 'echo out; echo err >&2; exit 1')
    expect(stage.run(program, { TASK: 'abc123', LINES: '20' })).toEqual({ exitCode: 0, stdout: 'out\nerr\n', stderr: '' })
    expect(stage.calls('docker')).toEqual(['service logs --raw --tail 20 abc123'])
  })

  test.each([
    ['web.1', '20'],
    ['--help', '20'],
    ['', '20'],
    ['abc123', 'all'],
  ])('task %p with %p lines is refused', (task, lines) => {
    stage.command('docker', 'exit 0')
    expect(stage.run(program, { TASK: task, LINES: lines }).exitCode).toBe(65)
    expect(stage.calls('docker')).toEqual([])
  })
})

describe('a restore drill', () => {
  const program = PROGRAM_TEXTS['drill-backup']
  const input = (more: Record<string, string> = {}) => ({
    KIND: 'postgres',
    IMAGE: 'postgres:17',
    BUCKET: 'acme',
    KEY: 'db/2026.sql.gz',
    BYTES: '1000',
    ENDPOINT: 'https://s3.example.net',
    REGION: 'x',
    PROVIDER: 'Other',
    ACCESS_KEY: new Secret('a', 'AKIA-of-the-drill'),
    SECRET_KEY: new Secret('s', 'secret-of-the-drill'),
    ...more,
  })
  /** A Docker whose Dokploy runs, whose bucket holds `object`, and whose database restores with `restores` and has `tables`. */
  const pretend = ({ object = 'dump', restores = 0, tables = '3', left = '', during = '' } = {}) => {
    stage.command(
      'docker',
      `case "$*" in
  'ps -a '*) printf '%s' '${left}' ;;
  'ps '*) echo 1234567890ab ;;
  *'rclone cat'*) test "$RCLONE_CONFIG_DRILL_SECRET_ACCESS_KEY" = secret-of-the-drill || exit 1; printf %s '${object}' ;;
  *'pg_restore'*) cat >/dev/null; ${during}
    exit ${restores} ;;
  *'psql'* | *' -N -e '*) echo ${tables} ;;
  'exec -i '*) cat >/dev/null ;;
esac`,
    )
    stage.command('gzip', object === 'damaged' ? 'exit 1' : 'case $1 in -dc) cat "$2" ;; esac')
  }

  test('restores into a container without a network, counts, and leaves nothing behind', () => {
    pretend()
    expect(stage.run(program, input())).toEqual({ exitCode: 0, stdout: 'bytes=4\nitems=3\nok=1\n', stderr: '' })
    const calls = stage.calls('docker')
    const made = calls.find(call => call.startsWith('run '))
    expect(made).toContain('--network none')
    expect(made).not.toMatch(/-v |--volume|--mount|-p /)
    const name = / --name (\S+)/.exec(made ?? '')?.[1] ?? 'nothing'
    expect(calls.at(-1)).toBe(`rm -f -v ${name}`)
    expect(calls.join('\n')).not.toContain('of-the-drill')
  })

  test('whose caller is gone takes its container and its files away all the same', () => {
    pretend({ during: 'kill -PIPE $PPID' })
    expect(stage.run(program, input()).stdout).toBe('bytes=4\n')
    const made = / --name (\S+)/.exec(stage.calls('docker').find(call => call.startsWith('run ')) ?? '')?.[1] ?? 'nothing'
    expect(stage.calls('docker').at(-1)).toBe(`rm -f -v ${made}`)
    expect(readdirSync('/var/tmp').filter(name => name.startsWith(`${made}.`))).toEqual([])
  })

  test('takes away what one that was killed left, and nothing of one that runs', () => {
    // No process has the first number: it is above every one that Linux gives. The second is always there.
    pretend({ left: 'landfall-drill-4194999\nlandfall-drill-1\n' })
    expect(stage.run(program, input()).exitCode).toBe(0)
    const removed = stage.calls('docker').filter(call => call.startsWith('rm '))
    expect(removed).toContain('rm -f -v landfall-drill-4194999')
    expect(removed).not.toContain('rm -f -v landfall-drill-1')
  })

  test.each([
    ['an empty object', { object: '' }, 'The backup is empty.'],
    ['a damaged archive', { object: 'damaged' }, 'The backup is damaged'],
    ['a dump that does not restore', { restores: 1 }, 'The dump does not restore.'],
    ['a dump without a table', { tables: '0' }, 'What came back is empty.'],
  ])('%s is no good backup', (_name, what, says) => {
    pretend(what)
    const ended = stage.run(program, input())
    expect([ended.exitCode, ended.stdout.includes('ok=1')]).toEqual([1, false])
    expect(ended.stderr).toContain(says)
  })

  describe.each([
    ['mysql', '-- MySQL dump 10.13  Distrib 8.4.6, for Linux (x86_64)'],
    ['mariadb', '/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19-11.8.2-MariaDB'],
  ])('of %s', (kind, head) => {
    const drill = (object: string) => {
      pretend({ object })
      return stage.run(program, input({ KIND: kind, IMAGE: `${kind}:1` }))
    }
    const body = 'CREATE TABLE `orders` (`id` int);\nINSERT INTO `orders` VALUES (1);\n'

    test('a whole dump is restored', () =>
      expect(drill(`${head}\n${body}\n-- Dump completed on 2026-11-28  3:00:01\n`)).toMatchObject({ exitCode: 0, stderr: '' }))

    test('one that was cut off between two statements, which restores as far as it goes, is no good backup', () =>
      expect(drill(`${head}\n${body}`)).toMatchObject({ exitCode: 1, stderr: 'The backup is damaged: its dump has no end.\n' }))

    test('one without a word about itself is judged by what it restores', () =>
      expect(drill(body)).toMatchObject({ exitCode: 0, stderr: '' }))
  })

  describe('of a volume', () => {
    /** The real tar's archive of two files, the first `bytes` of it. */
    const archive = (bytes?: number): void => {
      stage.write('volume/a.txt', 'a'.repeat(3_000))
      stage.write('volume/b.txt', 'b'.repeat(3_000))
      const made = Bun.spawnSync(['tar', '-cf', '-', 'a.txt', 'b.txt'], { cwd: join(stage.root, 'volume') }).stdout
      writeFileSync(join(stage.root, 'object'), made.subarray(0, bytes))
      stage.command(
        'docker',
        `case "$*" in 'ps -a '*) ;; 'ps '*) echo 1234567890ab ;; *'rclone cat'*) cat "$ROOT/object" ;; esac`,
      )
    }
    const drill = () => stage.run(program, input({ KIND: 'volume', IMAGE: '', KEY: 'web/uploads.tar' }))

    test('a whole archive is listed to its end', () => {
      archive()
      expect(drill()).toMatchObject({ exitCode: 0, stdout: 'bytes=10240\nitems=2\nok=1\n' })
    })

    test('an archive of a volume that holds nothing is no good backup', () => {
      stage.write('empty/none', '')
      const folder = join(stage.root, 'empty')
      Bun.spawnSync(['rm', 'none'], { cwd: folder })
      writeFileSync(join(stage.root, 'object'), Bun.spawnSync(['tar', '-cf', '-', '.'], { cwd: folder }).stdout)
      stage.command(
        'docker',
        `case "$*" in 'ps -a '*) ;; 'ps '*) echo 1234567890ab ;; *'rclone cat'*) cat "$ROOT/object" ;; esac`,
      )
      const ended = drill()
      expect([ended.exitCode, ended.stdout.includes('ok=1')]).toEqual([1, false])
      expect(ended.stderr).toContain('What came back is empty.')
    })

    test.each([
      ['within a file', 6_000],
      ['between two files', 3_584],
      ['before its end', 7_168],
    ])('an archive that was cut off %s is damaged', (_name, bytes) => {
      archive(bytes)
      const ended = drill()
      expect([ended.exitCode, ended.stdout.includes('ok=1')]).toEqual([1, false])
      expect(ended.stderr).toContain('The archive is damaged')
    })
  })

  test('a kind that is none is refused before anything is asked', () => {
    pretend()
    expect(stage.run(program, input({ KIND: 'oracle' })).exitCode).toBe(65)
    expect(stage.calls('docker')).toEqual([])
  })
})
