# One image in which `rnnsearch study start studies/mnist.yaml` works; the steps are the README's.
#
#   docker build -t rnnsearch .
#   docker run --rm --shm-size=2g -v rnnsearch:/var/lib/rnnsearch rnnsearch
#
# Studies, cached data and the MLflow store live in the volume. To use full data sets, mount them
# and name the mount: -v /path/to/data:/data:ro -e RNNSEARCH_DATA_DIR=/data
FROM python:3.11-slim

# The engine compiles cells with it.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 rnnsearch \
 && mkdir -p /var/lib/rnnsearch \
 && chown rnnsearch:rnnsearch /var/lib/rnnsearch

WORKDIR /opt/rnnsearch
COPY --chown=rnnsearch:rnnsearch pyproject.toml constraints.txt README.md ./
COPY --chown=rnnsearch:rnnsearch rnnsearch ./rnnsearch
COPY --chown=rnnsearch:rnnsearch plugins ./plugins
COPY --chown=rnnsearch:rnnsearch studies ./studies
RUN chown rnnsearch:rnnsearch .

USER 1000
RUN python3 -m venv .venv && .venv/bin/pip install --no-cache-dir -c constraints.txt .[cluster]

ENV PATH=/opt/rnnsearch/.venv/bin:$PATH \
    RNNSEARCH_HOME=/var/lib/rnnsearch \
    PYTHONUNBUFFERED=1
VOLUME /var/lib/rnnsearch

ENTRYPOINT ["rnnsearch"]
CMD ["study", "start", "studies/mnist.yaml"]
