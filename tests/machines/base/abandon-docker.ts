/** Starts an engine with a container, says where, and waits to be killed; for the test of what that leaves. */

import { stdout } from 'node:process'
import { must, startDocker } from '../docker.ts'

if (import.meta.main) {
  const docker = await startDocker({ name: 'left', subnet: '172.25' })
  const env = { ...docker.environment }
  must(['sh', '-c', 'tar -c -C / --dereference bin/sleep $(ldd /bin/sleep | grep -o "/[^ ]*") | docker import - sleep'], { env })
  must(['docker', 'run', '-d', '--network', 'none', 'sleep', '/bin/sleep', '987654'], { env })
  stdout.write(`${docker.directory}\n`)
  await Bun.sleep(600_000)
}
