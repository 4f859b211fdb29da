/** The logins of the panels, read from the servers that keep them. A password is printed only when it was asked for. */

import { World } from './engine/world.ts'
import { LandfallError } from './errors.ts'
import { hasFlag, type Opened, type Session } from './script.ts'
import { runProgram, targetOf } from './steps/machine.ts'
import { hasDokploy, KEY_NAME, readLogin } from './steps/panel.ts'
import { findServer } from './steps/server.ts'

export async function showLogins(session: Session, { estate, composition }: Opened): Promise<number> {
  const { deps, readers } = composition
  const world = new World(readers)
  await world.look(['servers'])
  const wanted = estate.servers
    .filter(hasDokploy)
    .filter(spec => session.args.names.length === 0 || session.args.names.includes(spec.name))
  if (wanted.length === 0)
    throw new LandfallError('usage', `The estate has no Dokploy server called ${session.args.names.join(', ')}.`, {
      hint: `It has: ${estate.servers
        .filter(hasDokploy)
        .map(spec => spec.name)
        .join(', ')}.`,
    })
  for (const spec of wanted) {
    const server = findServer(estate.name, spec.name, world.get('servers'))
    const target = server && targetOf(estate.name, server)
    const login = target && (await readLogin(deps, target))
    if (!login) {
      session.reporter.warning(`No login of ${spec.name} is kept yet: run  bun scripts/dokploy.ts`)
      continue
    }
    const address = spec.dokploy.host ? `https://${spec.dokploy.host}` : `http://${server?.ipv4}:3000`
    const show = hasFlag(session, 'show')
    if (show) session.reveal(spec.name, login.password)
    session.reporter.page(
      `${address}\n  user      ${login.email}\n  password  ${show ? '(above)' : 'kept on the server; print it with --show'}`,
      {
        server: spec.name,
        address,
        email: login.email,
      },
    )
  }
  return 0
}

/**
 * Takes over a panel that somebody registered in the browser: signs in with that login, makes an API key, and keeps both on the server.
 * @throws LandfallError refused when the panel does not accept the login
 */
export async function adoptLogin(session: Session, { estate, composition }: Opened): Promise<number> {
  const { deps, readers } = composition
  const [name] = session.args.names
  const spec = estate.servers.filter(hasDokploy).find(each => each.name === name)
  const world = new World(readers)
  await world.look(['servers'])
  const server = spec && findServer(estate.name, spec.name, world.get('servers'))
  const target = server && targetOf(estate.name, server)
  if (!spec || !target)
    throw new LandfallError(
      'usage',
      name ? `The estate has no running Dokploy server called ${name}.` : 'Which server shall be adopted?',
      {
        hint: `bun scripts/dokploy.ts adopt ${estate.servers.find(hasDokploy)?.name ?? 'SERVER'}`,
      },
    )
  const email = await session.ask.text({
    flag: '--email ADDRESS',
    message: 'The e-mail of its admin',
    default: spec.dokploy.adminEmail,
  })
  const password = await session.ask.secret({
    flag: 'a terminal',
    message: 'Its password',
    label: `Dokploy password of ${spec.name}`,
  })
  const panel = await deps.panelOn(target)
  const { apiKey } = await panel.claim({ email, password, keyName: KEY_NAME })
  await runProgram(deps, target, 'write-dokploy-login', { EMAIL: email, PASSWORD: password, API_KEY: apiKey })
  session.reporter.log(`${spec.name} is ours now; its login is kept on the server, readable by root alone.`)
  return 0
}
