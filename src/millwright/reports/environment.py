"""Where the pages' templates are found; apart from what draws pictures, which not every page needs."""

from jinja2 import Environment, PackageLoader, StrictUndefined

templates = Environment(
    loader=PackageLoader("millwright.reports"), autoescape=True, undefined=StrictUndefined
)
