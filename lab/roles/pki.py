"""A certificate authority of the lab's own; private keys never leave the host they are for."""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles.role import Role, machine_with

_CA = "/var/lib/lab-ca"
_DAYS = 3650
_MAKE_CA = f"""
[ -s {_CA}/ca.pem ] && exit 0
install -d -m 700 {_CA}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days {_DAYS} \
  -subj /CN=lab-ca -keyout {_CA}/ca.key -out {_CA}/ca.pem 2>/dev/null
"""
_REQUEST = """
umask 077; mkdir -p {folder}
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
  -subj /CN={name} -keyout {folder}/key.pem 2>/dev/null
"""
_SIGN = """
extensions='subjectAltName=DNS:{name},IP:{address}
extendedKeyUsage=serverAuth,clientAuth'
openssl x509 -req -days {days} -CA {ca}/ca.pem -CAkey {ca}/ca.key \
  -extfile <(echo "$extensions") 2>/dev/null
"""


def authority(plan: Plan) -> str:
    """The certificate that every host trusts."""
    return machine_with(plan, "pki").read(f"{_CA}/ca.pem")


def issue(machine: Machine, plan: Plan, folder: str) -> str:
    """Make a key in a folder of the host, and return the certificate for it."""
    request = machine.run(_REQUEST.format(folder=folder, name=machine.name)).stdout
    sign = _SIGN.format(name=machine.name, address=machine.address, days=_DAYS, ca=_CA)
    return machine_with(plan, "pki").run(sign, stdin=request).stdout


def _provision(machine: Machine, plan: Plan) -> None:
    machine.run(_MAKE_CA)


ROLES = (Role("pki", ("openssl",), (), _provision),)
