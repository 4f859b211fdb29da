import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { listenPorts, parseNginx, walk } from '../../../lib/stack/nginx.ts'
import { renderUpstreams, SWITCHING, servicesServed } from '../../../lib/stack/upstream.ts'
import { NGINX } from './planted.ts'

const files = [{ path: '/opt/shop/nginx/default.conf', text: NGINX }]

describe('reading nginx', () => {
  test('directives keep their words, lines and places', () => {
    const { directives, mistakes } = parseNginx(
      `# "quotes" { in a comment\nserver {\n  server_name "a b" \${host}x;\n  return 200 "}\\"";\n}\n`,
    )
    expect(mistakes).toEqual([])
    const [server] = directives
    expect(server?.block?.map(({ name, line, args }) => [name, line, args.map(({ text }) => text)])).toEqual([
      ['server_name', 3, ['a b', `\${host}x`]],
      ['return', 4, ['200', '}\\"']],
    ])
  })

  test('what does not fit is named with its line', () => {
    expect(parseNginx('server {\n  listen 80\n}\n').mistakes).toEqual([
      { line: 2, says: '"listen" does not end with a semicolon' },
    ])
    expect(parseNginx('http {\n  server {\n').mistakes.map(({ line }) => line)).toEqual([1, 2])
    expect(parseNginx("add_header x 'never ends;\n").mistakes[0]?.says).toBe('a quoted text is never closed')
  })

  test('any text is read without a failure, and every place lies inside of it', () => {
    const piece = fc.constantFrom('server', ' ', '{', '}', ';', '"', "'", '#', '\n', '$', '\\', 'upstream', 'a:1')
    fc.assert(
      fc.property(fc.array(fc.oneof(piece, fc.string()), { maxLength: 60 }), pieces => {
        const text = pieces.join('')
        for (const { directive } of walk(parseNginx(text).directives)) {
          expect(directive.start).toBeGreaterThanOrEqual(0)
          expect(directive.end).toBeLessThanOrEqual(text.length)
          expect(directive.line).toBeLessThanOrEqual(text.split('\n').length)
        }
      }),
    )
  })
})

describe('turning upstreams', () => {
  test('names become addresses, parameters stay, other services keep their names', () => {
    const { files: rendered, proof } = renderUpstreams(files, { web: ['10.0.0.7', '10.0.0.8'] }, 'r1')
    const text = rendered[0]?.text ?? ''
    expect(text).toContain('server 10.0.0.7:3000 max_fails=0; server 10.0.0.8:3000 max_fails=0;')
    expect(text).toContain('server api:5000;')
    expect(text).toContain(`listen ${proof.port};`)
    expect(text).toContain('return 200 "r1\\n";')
    expect(parseNginx(text).mistakes).toEqual([])
  })

  test('the proof takes a port that nothing listens on', () => {
    const taken = [{ path: '/a.conf', text: `${NGINX}server { listen 48999; }\n` }]
    expect(renderUpstreams(taken, { web: ['10.0.0.7'] }, 'r1').proof.port).toBe(49_000)
  })

  test('a service without an address is refused', () => {
    expect(() => renderUpstreams(files, { web: [] }, 'r1')).toThrow('web has no address')
  })

  test('whatever the addresses, nothing but the named upstreams and the proof changes', () => {
    const address = fc.ipV4()
    const served = ['api', 'web', 'python-api']
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom(...served), fc.array(address, { minLength: 1, maxLength: 4 }), { minKeys: 1 }),
        addresses => {
          const text = renderUpstreams(files, addresses, 'r1').files[0]?.text ?? ''
          const { directives } = parseNginx(text)
          const upstreams = Object.fromEntries(
            directives
              .filter(({ name }) => name === 'upstream')
              .map(({ args, block }) => [args[0]?.text, (block ?? []).map(server => server.args[0]?.text.split(':')[0])]),
          )
          for (const service of served) expect(upstreams[service]).toEqual(addresses[service] ?? [service])
          expect(listenPorts(directives).filter(port => port !== 80)).toEqual([48_999])
          const untouched = (source: string) =>
            source
              .split('\n')
              .filter(line => !/^\s+server |listen 48999/.test(line) && line !== SWITCHING)
              .join('\n')
          expect(untouched(text)).toBe(untouched(NGINX))
        },
      ),
    )
  })

  test('which services can be switched is read from the upstreams', () => {
    expect([...servicesServed(files, ['api', 'web', 'python-api', 'worker'])].sort()).toEqual(['api', 'python-api', 'web'])
  })
})
