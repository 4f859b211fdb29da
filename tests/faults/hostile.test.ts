/** Input that wants something: strings with escapes, config files with traps, and a directory that is somebody else's. */

import { afterAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { LandfallError } from '../../lib/errors.ts'
import { parseConfig, resolveEstate } from '../../lib/estate/load.ts'
import { checkSurroundings } from '../../lib/surroundings.ts'
import { ROOT, run } from './harness/product.ts'
import { CONFIG, openTheatre } from './harness/theatre.ts'
import { checkStrings, complaintsOf, outputOf, rawIn } from './hostile/strings.ts'

setDefaultTimeout(60_000)

const folder = mkdtempSync(join(tmpdir(), 'landfall-hostile-'))
afterAll(() => rmSync(folder, { recursive: true }))

const SEED = 20_260_918

describe('strings from outside', () => {
  test('never reach a terminal or a log raw: 2,000 strings through every output path', () => {
    expect(checkStrings(2_000, SEED).paths).toBe(25)
  })

  test('the check itself sees an escape sequence, a right-to-left override and a forged command', () => {
    for (const text of ['\u001b[31m', '\u202e', '\u009b', '\u{e0041}', '\ud800']) expect(rawIn(`a${text}b`)).toBeDefined()
    expect(outputOf('log', 'github', '::error::x')).not.toMatch(/^\s*::/m)
    expect(complaintsOf('harmless')).toEqual([])
  })

  test('of the API: a server, a zone and a record with escapes in them are shown harmlessly by whole runs', async () => {
    const theatre = await openTheatre()
    try {
      const evil = 'x\u001b]52;c;eA==\u0007\u202e\u009b31m\r\n::set-output name=a::b'
      theatre.sandbox.settings.faults = [
        {
          vendor: 'hetzner',
          path: '/servers',
          effect: {
            kind: 'status',
            status: 422,
            json: { error: { code: 'invalid_input', message: evil, details: { fields: [{ name: evil, messages: [evil] }] } } },
          },
        },
        {
          vendor: 'cloudflare',
          effect: {
            kind: 'status',
            status: 403,
            json: { success: false, errors: [{ code: 9109, message: evil }] },
            headers: { 'cf-ray': 'r' },
          },
        },
      ]
      for (const flags of [['--json'], []]) {
        for (const command of [
          ['provision', 'plan'],
          ['dns', '--plan'],
        ]) {
          const ended = await run({
            command: [...command, '--config', CONFIG, ...flags],
            cwd: theatre.cwd,
            env: { ...theatre.sandbox.environment, GITHUB_ACTIONS: 'true', CI: 'true' },
          })
          expect(ended.exitCode).not.toBe(0)
          expect(rawIn(ended.stdout)).toBeUndefined()
          expect(rawIn(ended.stderr)).toBeUndefined()
          expect(`${ended.stdout}\n${ended.stderr}`).not.toMatch(/^\s*::set-output/m)
        }
      }
    } finally {
      await theatre.close()
    }
  })
})

const GOOD = {
  hetzner: { location: 'nbg1', server_types: { dev: 'cx23', prod: 'cx33', packer_build: 'cx23' } },
  dns: { domain: 'example.com', admin_subdomain: 'admin', dev_admin_subdomain: 'dev.admin' },
}

/** A refusal in words, and nothing else: no other error, no change to what all objects share. */
const refusalOf = (text: string): string | undefined => {
  try {
    resolveEstate(parseConfig(text, 'config.json'), { adminAddresses: [], publicKeys: [] })
    return undefined
  } catch (error) {
    if (!(error instanceof LandfallError)) throw error
    return error.message
  }
}

const statusOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch (error) {
    // It has ended.
    if (error instanceof Error && 'code' in error) return ''
    throw error
  }
}

const prototypeKeys = (): string[] => Object.getOwnPropertyNames(Object.prototype).sort()

describe('a config file that is a trap', () => {
  test('prototype keys are refused at any depth, and change nothing', () => {
    const before = prototypeKeys()
    fc.assert(
      fc.property(
        fc.constantFrom('__proto__', 'constructor', 'prototype'),
        fc.array(fc.constantFrom('hetzner', 'dns', 'x'), { maxLength: 6 }),
        (key, path) => {
          const inner = `{${JSON.stringify(key)}:{"polluted":true}}`
          const text = path.reduceRight((rest, name) => `{${JSON.stringify(name)}:${rest}}`, inner)
          expect(refusalOf(text)).toBeDefined()
          expect(Reflect.get({}, 'polluted')).toBeUndefined()
        },
      ),
      { numRuns: 300, seed: SEED },
    )
    expect(prototypeKeys()).toEqual(before)
  })

  test('a key that stands twice is refused, wherever it is', () => {
    const text = JSON.stringify(GOOD)
    for (const key of ['location', 'domain', 'hetzner'])
      expect(refusalOf(text.replace(`"${key}":`, `"${key}":"evil","${key}":`))).toContain(key)
  })

  test('any text is understood or refused in words, never an accident', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary', maxLength: 200 }),
          fc.json(),
          fc.json().map(json => JSON.stringify(GOOD).replace('"nbg1"', json)),
        ),
        text => {
          const said = refusalOf(text)
          if (said !== undefined) expect(rawIn(said)).toBeUndefined()
        },
      ),
      { numRuns: 2_000, seed: SEED },
    )
  })

  test('a huge or deep one is refused within a second and 256 MB, by the program itself', async () => {
    const files: readonly (readonly [string, string])[] = [
      ['deep', '['.repeat(5_000_000)],
      ['wide', `{${Array.from({ length: 400_000 }, (_, index) => `"k${index}":1`).join(',')}}`],
      ['long', JSON.stringify({ ...GOOD, project: 'x'.repeat(50_000_000) })],
    ]
    for (const [name, text] of files) {
      const cwd = join(folder, name)
      mkdirSync(cwd)
      writeFileSync(join(cwd, CONFIG), text)
      const child = Bun.spawn(
        [process.execPath, '--no-env-file', join(ROOT, 'scripts/provision.ts'), 'plan', '--json', '--config', CONFIG],
        { cwd, env: { PATH: process.env.PATH ?? '', HOME: cwd }, stdout: 'pipe', stderr: 'pipe' },
      )
      // The peak of this process alone: what the system reports at its end includes the peak of its parent.
      let peakKb = 0
      const timer = setInterval(() => {
        peakKb = Math.max(peakKb, Number(/VmHWM:\s+(\d+)/.exec(statusOf(child.pid))?.[1] ?? 0))
      }, 4)
      const [out] = await Promise.all([new Response(child.stdout).text(), child.exited])
      clearInterval(timer)
      const used = child.resourceUsage()
      expect({ name, code: child.exitCode }).toEqual({ name, code: 64 })
      expect(out.length).toBeLessThan(5_000)
      expect(peakKb).toBeGreaterThan(0)
      expect(peakKb / 1024).toBeLessThan(256)
      expect(Number(used?.cpuTime.total ?? 0) / 1e6).toBeLessThan(2)
    }
  })
})

/** A directory that runs code, sets variables and redirects imports. */
const hostileDirectory = (name: string, files: readonly string[]): string => {
  const cwd = join(folder, name)
  mkdirSync(join(cwd, 'node_modules/valibot'), { recursive: true })
  const texts: Readonly<Record<string, string>> = {
    'bunfig.toml': 'preload = ["./evil.ts"]\n',
    '.env':
      'NODE_TLS_REJECT_UNAUTHORIZED=0\nHCLOUD_ENDPOINT=http://127.0.0.1:9/evil\nhttps_proxy=http://127.0.0.1:9\nHCLOUD_TOKEN=evil\n',
    '.env.local': 'HCLOUD_ENDPOINT=http://127.0.0.1:9/evil\n',
    'tsconfig.json': '{"compilerOptions":{"paths":{"valibot":["./evil.ts"],"*":["./evil.ts"]}}}',
    'package.json': '{"name":"evil","imports":{"#x":"./evil.ts"},"workspaces":["*"]}',
  }
  writeFileSync(
    join(cwd, 'evil.ts'),
    `require('node:fs').writeFileSync(${JSON.stringify(join(cwd, 'EVIL'))}, process.env.HCLOUD_TOKEN ?? '')\n`,
  )
  writeFileSync(join(cwd, 'node_modules/valibot/package.json'), '{"name":"valibot","main":"../../evil.ts"}')
  for (const file of files) writeFileSync(join(cwd, file), texts[file] ?? '')
  writeFileSync(join(cwd, CONFIG), JSON.stringify(GOOD))
  return cwd
}

const ALL = ['bunfig.toml', '.env', '.env.local', 'tsconfig.json', 'package.json']

const startIn = async (cwd: string, words: readonly string[], env: Readonly<Record<string, string>>) => {
  const child = Bun.spawn([...words], {
    cwd,
    env: { PATH: `${join(process.execPath, '..')}:${process.env.PATH ?? ''}`, HOME: folder, ...env },
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [code, out, err] = await Promise.all([child.exited, new Response(child.stdout).text(), new Response(child.stderr).text()])
  return { code, out, err, evil: await Bun.file(join(cwd, 'EVIL')).exists() }
}

describe('a directory of somebody else', () => {
  test('through the launcher: nothing of it is run or read, and the run works as anywhere', async () => {
    const theatre = await openTheatre()
    try {
      const cwd = hostileDirectory('launched', ALL)
      const link = join(folder, 'landfall')
      symlinkSync(join(ROOT, 'bin/landfall'), link)
      const { code, out, evil } = await startIn(
        cwd,
        [link, 'provision', 'plan', '--json', '--config', CONFIG],
        theatre.sandbox.environment,
      )
      expect({ code, evil }).toEqual({ code: 2, evil: false })
      expect(out).toContain('create server prod-dokploy')
    } finally {
      await theatre.close()
    }
  })

  test('without the launcher: files that Bun has read are noticed before the first request, and the run refuses', async () => {
    const theatre = await openTheatre()
    try {
      const first = theatre.sandbox.requests().length
      for (const file of ['.env', '.env.local']) {
        const cwd = hostileDirectory(`plain${file}`, [file, 'package.json'])
        const words = [process.execPath, join(ROOT, 'scripts/provision.ts'), 'plan', '--json', '--config', CONFIG]
        const { code, out, evil } = await startIn(cwd, words, theatre.sandbox.environment)
        expect({ file, code, evil }).toEqual({ file, code: 3, evil: false })
        expect(out).toMatch(/"code":"refused"/)
        expect(theatre.sandbox.requests().length).toBe(first)
      }
    } finally {
      await theatre.close()
    }
  })

  test('without the launcher: a bunfig.toml or a tsconfig.json with paths runs before us, which only the launcher prevents', async () => {
    const words = [process.execPath, join(ROOT, 'scripts/provision.ts'), 'plan', '--json', '--config', CONFIG]
    const preloaded = await startIn(hostileDirectory('preloaded', ['bunfig.toml']), words, { HCLOUD_TOKEN: 'x'.repeat(64) })
    expect({ code: preloaded.code, evil: preloaded.evil }).toEqual({ code: 3, evil: true })
    expect(preloaded.out).toContain('bin/landfall')
    // If Bun ever stops doing this, the launcher is no longer needed for it.
    expect((await startIn(hostileDirectory('redirected', ['tsconfig.json']), words, {})).evil).toBe(true)
  })

  test("a .env in Landfall's own directory sets nothing", async () => {
    const home = join(folder, 'checkout')
    mkdirSync(home)
    copyFileSync(join(ROOT, 'bunfig.toml'), join(home, 'bunfig.toml'))
    writeFileSync(join(home, '.env'), 'HCLOUD_ENDPOINT=http://evil.example\nNODE_TLS_REJECT_UNAUTHORIZED=0\n')
    writeFileSync(
      join(home, 'show.ts'),
      'process.stdout.write(String([process.env.HCLOUD_ENDPOINT, process.env.NODE_TLS_REJECT_UNAUTHORIZED]))',
    )
    expect((await startIn(home, [process.execPath, 'show.ts'], {})).out).toBe(',')
  })

  test('the launcher refuses a noun that is a path, and names what there is', async () => {
    for (const noun of ['../lib/main', '/etc/passwd', '', '-e', 'setup.ts'])
      expect((await startIn(folder, [join(ROOT, 'bin/landfall'), noun], {})).code).toBe(64)
    expect((await startIn(folder, [join(ROOT, 'bin/landfall'), 'nothing'], {})).err).toContain('provision')
  })
})

describe('the check of the surroundings', () => {
  const here = { directory: '/somewhere', home: '/landfall', files: ['config.json', 'package.json'], flags: [], variables: {} }
  const said = (change: Partial<Parameters<typeof checkSurroundings>[0]>): string => {
    try {
      checkSurroundings({ ...here, ...change })
      return ''
    } catch (error) {
      return error instanceof LandfallError ? error.message : String(error)
    }
  }
  test('lets an ordinary directory, its own directory, and a shielded start pass', () => {
    expect(said({})).toBe('')
    expect(said({ directory: '/landfall', files: ['bunfig.toml', '.env'] })).toBe('')
    expect(
      said({
        files: ['.env', 'bunfig.toml'],
        flags: ['--config=/landfall/bunfig.toml', '--no-env-file', '--tsconfig-override=/landfall/tsconfig.json'],
      }),
    ).toBe('')
    expect(said({ variables: { BUN_CONFIG_VERBOSE_FETCH: 'false', NODE_TLS_REJECT_UNAUTHORIZED: '1' } })).toBe('')
  })
  test('names every file that Bun has read, and half a shield is none', () => {
    for (const file of [
      '.env',
      '.env.local',
      '.env.production',
      '.env.test.local',
      'bunfig.toml',
      'tsconfig.json',
      'jsconfig.json',
    ])
      expect(said({ files: [file] })).toContain(file)
    expect(said({ files: ['.env.example', '.envrc', 'env'] })).toBe('')
    expect(said({ files: ['.env'], flags: ['--config=/x'] })).toContain('.env')
    expect(said({ files: ['bunfig.toml'], flags: ['--no-env-file'] })).toContain('bunfig.toml')
  })
  test('refuses switches that give the tokens away', () => {
    for (const value of ['curl', '1', 'true'])
      expect(said({ variables: { BUN_CONFIG_VERBOSE_FETCH: value } })).toContain('with the token in it')
    expect(said({ variables: { NODE_TLS_REJECT_UNAUTHORIZED: '0' } })).toContain('take the tokens')
  })
})
